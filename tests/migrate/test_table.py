"""The table: it names what users import, and nothing that is not there."""

from __future__ import annotations

import pytest

from federant.migrate.table import load_table

USED_BEYOND_THE_CLIENT = [
    ("nvflare.app_common.app_constant", "ModelName"),
    ("nvflare.app_common.app_constant", "AlgorithmConstants"),
    ("nvflare.app_common.np.constants", "NPConstants"),
    ("nvflare.app_opt.pt.fedproxloss", "PTFedProxLoss"),
    ("nvflare.app_opt.pt.scaffold", "PTScaffoldHelper"),
    ("nvflare.app_common.abstract.model", "make_model_learnable"),
    (
        "nvflare.app_opt.pt.model_persistence_format_manager",
        "PTModelPersistenceFormatManager",
    ),
    ("nvflare.app_opt.xgboost.tree_based.utils", "update_model"),
    ("nvflare.app_opt.sklearn.data_loader", "load_data_for_range"),
    ("nvflare.client", "IPCAgent"),
]
MOVED_BEYOND_THE_CLIENT = [
    ("nvflare.app_common.abstract.fl_model", "FLModel"),
    ("nvflare.app_common.abstract.fl_model", "ParamsType"),
    ("nvflare.apis.fl_constant", "FLMetaKey"),
    ("nvflare.apis.dxo", "MetaKey"),
]
OF_JOBS = [
    "nvflare.apis.impl.controller",
    "nvflare.apis.executor",
    "nvflare.job_config.api",
    "nvflare.recipe.fedavg",
    "nvflare.app_opt.pt.recipes.fedavg",
    "nvflare.apis.dxo_filter",
    "nvflare.app_common.filters.percentile_privacy",
    "nvflare.app_common.workflows.model_controller",
]


@pytest.mark.parametrize(("module", "name"), USED_BEYOND_THE_CLIENT)
def test_what_users_import_and_we_do_not_have_is_named_by_itself(module: str, name: str) -> None:
    table = load_table()
    found = table.module(module)
    assert found is None or found.target(name) is None
    assert table.advice(module, name) != table.advice("nvflare")


@pytest.mark.parametrize(("module", "name"), MOVED_BEYOND_THE_CLIENT)
def test_what_users_import_and_we_have_moves(module: str, name: str) -> None:
    found = load_table().module(module)
    assert found is not None
    assert found.target(name) == "federant.exchange"


@pytest.mark.parametrize("module", ["nvflare.fuel.utils.constants", "nvflare.fuel.utils.pipe.pipe"])
def test_a_pipes_mode_moves_from_each_module_that_users_take_it_from(module: str) -> None:
    found = load_table().module(module)
    assert found is not None
    assert found.target("Mode") == "federant.pipe"


def test_a_name_of_the_pipes_that_we_lack_is_not_explained_by_another() -> None:
    advice = load_table().advice("nvflare.fuel.utils.pipe.pipe", "Nothing")
    assert "federant.pipe.__all__" in advice
    assert "FilePipe" not in advice


@pytest.mark.parametrize("module", OF_JOBS)
def test_the_parts_of_a_job_are_named_with_what_takes_their_place(module: str) -> None:
    advice = load_table().advice(module, "Anything")
    assert advice != load_table().advice("nvflare")


def test_a_name_nobody_knows_gets_advice_too() -> None:
    assert "no counterpart" in load_table().advice("nvflare.never.heard.of", "It")


def test_no_name_is_both_moved_and_said_to_have_no_counterpart() -> None:
    table = load_table()
    for module, name in table.without_counterpart():
        found = table.module(module)
        assert found is None or found.target(name) is None, (module, name)
