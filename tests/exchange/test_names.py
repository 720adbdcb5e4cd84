"""The names that travel are plain strings, whatever they are in Python."""

from __future__ import annotations

import json

from federant.exchange import DataKind, HeaderKey, MetaKey, ReservedHeaderKey, ReturnCode


def test_a_data_kind_equals_and_prints_as_its_string() -> None:
    assert DataKind.WEIGHT_DIFF == "WEIGHT_DIFF"
    assert f"{DataKind.WEIGHT_DIFF}" == "WEIGHT_DIFF"
    assert {"WEIGHT_DIFF": 1}[DataKind.WEIGHT_DIFF] == 1
    assert json.dumps(DataKind.WEIGHT_DIFF) == '"WEIGHT_DIFF"'


def test_return_codes_are_strings_equal_to_their_names() -> None:
    codes = {k: v for k, v in vars(ReturnCode).items() if not k.startswith("_")}
    assert codes == {name: name for name in codes}
    assert {"OK", "TASK_TIMEOUT", "TRAINER_DIED", "RESULT_NOT_FINITE"} <= codes.keys()


def test_header_keys_include_the_reserved_ones_and_ours() -> None:
    assert issubclass(HeaderKey, ReservedHeaderKey)
    assert HeaderKey.RC == "__rc__"
    assert HeaderKey.ERROR == "__error__"
    assert HeaderKey.ATTEMPT == "__attempt__"
    assert HeaderKey.NUM_ROUNDS == "num_rounds"
    assert MetaKey.NUM_STEPS_CURRENT_ROUND == "NUM_STEPS_CURRENT_ROUND"
