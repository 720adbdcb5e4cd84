"""DXO and its ways into a Shareable, bytes, files and out of a collection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import federant.codec  # noqa: F401  it puts itself behind to_bytes and the like
from federant.exchange import (
    DXO,
    DataKind,
    MetaKey,
    Shareable,
    from_bytes,
    from_dict,
    from_file,
    from_shareable,
    get_leaf_dxos,
)


@pytest.fixture
def weights() -> DXO:
    return DXO(DataKind.WEIGHTS, {"layer": np.arange(6.0).reshape(2, 3)}, {"rounds": (1, None)})


def test_missing_data_and_meta_become_empty_dicts() -> None:
    dxo = DXO(DataKind.METRICS)
    assert dxo.data == {}
    assert dxo.meta == {}
    assert dxo.validate() == ""


def test_app_defined_data_may_be_anything() -> None:
    assert DXO(DataKind.APP_DEFINED, [1, 2]).data == [1, 2]


@pytest.mark.parametrize(
    ("kind", "data", "meta", "message"),
    [
        (DataKind.WEIGHTS, [1], None, "data must be a dict for kind WEIGHTS, got list"),
        (DataKind.WEIGHTS, {}, [1], "meta must be a dict, got list"),
        (None, {}, None, "data_kind must be a DataKind or str, got NoneType"),
    ],
)
def test_a_part_of_the_wrong_type_is_refused(
    kind: object, data: object, meta: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DXO(kind, data, meta)  # type: ignore[arg-type]


def test_validate_says_in_a_sentence_what_became_wrong() -> None:
    dxo = DXO(DataKind.WEIGHTS, {})
    dxo.data = None
    assert dxo.validate() == "data is missing"


def test_meta_props_are_set_read_and_removed() -> None:
    dxo = DXO(DataKind.WEIGHTS, {})
    dxo.set_meta_prop("a", 1)
    dxo.remove_meta_props(["a", "unknown"])
    assert dxo.get_meta_prop("a", "default") == "default"
    nested = {"b": [1]}
    dxo.update_meta_props(nested)
    nested["b"].append(2)
    assert dxo.get_meta_props() == {"b": [1]}
    assert dxo.get_meta_props() is dxo.meta


def test_meta_that_a_user_set_to_none_is_made_again() -> None:
    dxo = DXO(DataKind.WEIGHTS, {})
    dxo.meta = None  # type: ignore[assignment]
    assert dxo.get_meta_prop("a") is None
    dxo.set_meta_prop("a", 1)
    assert dxo.meta == {"a": 1}


def test_filter_history_takes_a_name_or_several_and_ignores_the_rest() -> None:
    dxo = DXO(DataKind.WEIGHTS, {})
    assert dxo.get_filter_history() is None
    for names in ("first", ["second", "third"], "", 3):
        dxo.add_filter_history(names)  # type: ignore[arg-type]
    assert dxo.get_filter_history() == ["first", "second", "third"]
    assert dxo.meta == {MetaKey.FILTER_HISTORY: ["first", "second", "third"]}


def test_a_shareable_holds_the_dxos_very_objects(weights: DXO) -> None:
    back = from_shareable(weights.to_shareable())
    assert back is not weights
    assert back.data is weights.data
    assert back.meta is weights.meta
    assert back.data_kind == "WEIGHTS"


def test_update_shareable_keeps_what_else_it_holds(weights: DXO) -> None:
    shareable = Shareable({"mine": 1})
    shareable.set_header("h", 2)
    assert weights.update_shareable(shareable) is shareable
    assert shareable["mine"] == 1
    assert shareable.get_header("h") == 2
    assert shareable.get_header("__content_type__") == "DXO"
    assert shareable["DXO"] == {"kind": "WEIGHTS", "data": weights.data, "meta": weights.meta}


def test_from_shareable_without_a_dxo_says_so() -> None:
    with pytest.raises(ValueError, match="this Shareable holds no DXO"):
        from_shareable(Shareable())


@pytest.mark.parametrize("content", [None, {}, [1], {"kind": "WEIGHTS", "data": 3}, {"data": {}}])
def test_from_shareable_with_a_broken_dxo_is_refused(content: object) -> None:
    shareable = Shareable({"DXO": content})
    shareable.set_header("__content_type__", "DXO")
    with pytest.raises(ValueError):
        from_shareable(shareable)


def test_from_dict_takes_what_to_dict_gives(weights: DXO) -> None:
    assert from_dict(weights.to_dict()).data is weights.data
    with pytest.raises(ValueError, match="must be a dict, got list"):
        from_dict([])  # type: ignore[arg-type]


def test_bytes_give_an_equal_dxo_with_arrays_of_its_own(weights: DXO) -> None:
    back = from_bytes(weights.to_bytes())
    assert back.data_kind is DataKind.WEIGHTS
    assert back.meta == {"rounds": (1, None)}
    np.testing.assert_array_equal(back.data["layer"], weights.data["layer"])
    back.data["layer"][0, 0] = 99
    assert weights.data["layer"][0, 0] == 0


@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff" * 100])
def test_junk_is_a_value_error(junk: bytes) -> None:
    with pytest.raises(ValueError):
        from_bytes(junk)


def test_other_content_is_named(weights: DXO) -> None:
    with pytest.raises(ValueError, match="hold a Shareable, not a DXO"):
        from_bytes(weights.to_shareable().to_bytes())


def test_a_file_gives_the_dxo_back_and_leaves_nothing_beside_it(
    weights: DXO, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    weights.to_file(str(path))
    weights.data["layer"][0, 0] = 7
    weights.to_file(path)
    back = from_file(str(path))
    back.data["layer"] += 1
    assert back.data["layer"][0, 0] == 8
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_could_not_be_written_leaves_the_old_one(weights: DXO, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights.to_file(path)
    before = path.read_bytes()
    with pytest.raises(TypeError, match=r"data\['bad'\] cannot travel"):
        DXO(DataKind.WEIGHTS, {"bad": object()}).to_file(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_frame_is_named(tmp_path: Path) -> None:
    path = tmp_path / "junk"
    path.write_bytes(b"junk")
    with pytest.raises(ValueError, match="junk: "):
        from_file(path)


def test_leaves_of_a_collection_are_found_by_path() -> None:
    leaf, other = DXO(DataKind.WEIGHTS, {}), DXO(DataKind.METRICS, {})
    inner = DXO(DataKind.COLLECTION, {"b": other, "wrong": 3})
    leaves, errors = get_leaf_dxos(DXO(DataKind.COLLECTION, {"a": leaf, "in": inner}), "root")
    assert leaves == {"root.a": leaf, "root.in.b": other}
    assert errors == ["'root.in.wrong' must be a DXO, it is int"]


def test_a_simple_dxo_is_its_own_leaf_and_collections_without_a_root_begin_with_a_dot() -> None:
    leaf = DXO(DataKind.WEIGHTS, {})
    assert get_leaf_dxos(leaf, "me") == ({"me": leaf}, [])
    assert get_leaf_dxos(DXO(DataKind.COLLECTION, {"a": leaf})) == ({".a": leaf}, [])


def test_repr_is_short_whatever_the_model_weighs(weights: DXO) -> None:
    assert repr(weights) == "<DXO WEIGHTS: 1 entries, meta {'rounds': (1, None)}>"
