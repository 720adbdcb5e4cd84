"""Records in a batch come out as they went in, and what is no record costs no other."""

import math
from typing import Any

import pytest

from federant.codec import decode, encode
from federant.exchange import DXO, AnalyticsDataType, DataKind, LogWriterName, create_analytic_dxo
from federant.exchange.metric_batch import (
    Logged,
    MetricBatch,
    Scalar,
    batch_of,
    read_batch,
    scalar_of,
)

SCALAR = AnalyticsDataType.SCALAR


def note(text: str) -> DXO:
    return create_analytic_dxo("note", text, AnalyticsDataType.TEXT)


@pytest.mark.parametrize(
    "kinds", ["", "s", "r", "sr", "rs", "rrs", "srs", "ssrrss", "rsrsr"], ids=lambda k: k or "none"
)
def test_scalars_and_other_records_keep_their_order(kinds: str) -> None:
    logged = [
        Logged(float(n), Scalar("loss", n / 3, n) if kind == "s" else note(str(n)))
        for n, kind in enumerate(kinds)
    ]
    data = batch_of(MetricBatch(logged, 5))
    found = read_batch(decode(bytearray(encode(data).to_bytes())).body)
    assert found.dropped == 5
    assert [each.time for each in found.logged] == [each.time for each in logged]
    for was, now in zip(logged, found.logged, strict=True):
        if isinstance(was.what, DXO):
            assert isinstance(now.what, DXO)
            assert now.what.data == was.what.data
        else:
            assert now.what == was.what


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0, -0.0, (1 << 63) - 1])
def test_every_number_of_64_bits_is_a_scalar(value: float) -> None:
    scalar = scalar_of(create_analytic_dxo("x", value, SCALAR, global_step=2))
    assert scalar is not None
    batch = read_batch(batch_of(MetricBatch([Logged(0.0, scalar)], 0)))
    assert repr(batch.logged[0].what) == repr(Scalar("x", value, 2))


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(note("x"), id="text"),
        pytest.param(create_analytic_dxo("x", 1.0, SCALAR, walltime=3.0), id="keywords"),
        pytest.param(create_analytic_dxo("x", 1.0, SCALAR, path="a"), id="path"),
        pytest.param(create_analytic_dxo("x", 1.0, AnalyticsDataType.PARAMETER), id="parameter"),
        pytest.param(create_analytic_dxo("x", 1 << 63, SCALAR), id="large"),
        pytest.param(create_analytic_dxo("x", 1, SCALAR, global_step=1 << 63), id="large step"),
        pytest.param(DXO(DataKind.METRICS, {"x": 1.0}), id="metrics"),
        pytest.param(DXO(DataKind.APP_DEFINED, [1.0], {"analytics_data_type": SCALAR}), id="list"),
    ],
)
def test_what_says_more_than_a_number_with_its_step_is_no_scalar(record: DXO) -> None:
    assert scalar_of(record) is None


def test_the_words_of_every_writer_make_scalars() -> None:
    record = create_analytic_dxo("x", 1, AnalyticsDataType.METRIC, LogWriterName.MLFLOW)
    assert scalar_of(record) == Scalar("x", 1, None)


GOOD = batch_of(
    MetricBatch(
        [
            Logged(0.0, Scalar("x", 1.0, 1)),
            Logged(1.0, note("y")),
            Logged(2.0, Scalar("x", 2.0, 2)),
            Logged(3.0, note("z")),
        ],
        5,
    )
)
TAGS, VALUES, STEPS, TIMES = range(4)
"""The columns of the scalars."""


def with_scalar(column: int, second: Any) -> dict[str, Any]:
    """The batch, but for this in the second number's column."""
    columns = [list(each) for each in GOOD["scalars"]]
    columns[column][1] = second
    return GOOD | {"scalars": columns}


def what(batch: MetricBatch) -> list[Any]:
    return [e.what if isinstance(e.what, Scalar) else e.what.data["track_value"] for e in batch[0]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (with_scalar(VALUES, "1"), "'1' at step 2 and time 2.0 is no number under the tag 'x'"),
        (with_scalar(VALUES, "1" * 10**6), "'" + "1" * 200 + "' at step 2"),
        (with_scalar(VALUES, 10**5000), "a int at step 2"),
        (with_scalar(VALUES, [1.0]), "a list at step 2"),
        (with_scalar(VALUES, True), "True at step 2"),
        (with_scalar(STEPS, 1.5), "2.0 at step 1.5"),
        (with_scalar(STEPS, -1), "2.0 at step -1"),
        (with_scalar(TIMES, None), "2.0 at step 2 and time None"),
        (with_scalar(TIMES, 10**400), "2.0 at step 2 and time a int"),
        (with_scalar(TAGS, 7), "is no number under the tag 7"),
        (with_scalar(TAGS, -1), "is no number under the tag -1"),
        (with_scalar(TAGS, True), "is no number under the tag True"),
        (with_scalar(TAGS, None), "is no number under the tag None"),
    ],
)
def test_a_number_that_is_none_costs_its_batch_nothing_else(data: Any, said: str) -> None:
    batch = read_batch(data)
    assert what(batch) == [("x", 1.0, 1), "y", "z"]
    assert [each.time for each in batch.logged] == [0.0, 1.0, 3.0]
    assert batch.dropped == 5
    (reason,) = batch.refused
    assert said in reason
    assert len(reason) < 500


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (GOOD | {"records": [{"no": "DXO"}, GOOD["records"][1]]}, "a record is a dict, no DXO"),
        (GOOD | {"records": [None, GOOD["records"][1]]}, "a record is a NoneType, no DXO"),
        (GOOD | {"times": [None, 3.0]}, "None is no time of a record"),
        (GOOD | {"times": [10**400, 3.0]}, "a int is no time of a record"),
    ],
)
def test_a_record_that_is_none_costs_its_batch_nothing_else(data: Any, said: str) -> None:
    batch = read_batch(data)
    assert what(batch) == [("x", 1.0, 1), ("x", 2.0, 2), "z"]
    assert (batch.dropped, list(batch.refused)) == (5, [said])


@pytest.mark.parametrize("tags", [[], [7]])
def test_numbers_without_a_tag_cost_the_other_records_nothing(tags: list[Any]) -> None:
    batch = read_batch(GOOD | {"tags": tags})
    assert what(batch) == ["y", "z"]
    assert len(batch.refused) == 2


@pytest.mark.parametrize("places", [[3, 1], [1, 1], [-1, -1], [9, 0], ["a", None]])
def test_records_at_places_that_there_are_not_are_read_all_the_same(places: list[Any]) -> None:
    batch = read_batch(GOOD | {"places": places})
    assert len(batch.logged) == 4
    assert not batch.refused


@pytest.mark.parametrize("count", [-1, 1 << 63, True, 1.0, None, "5"])
def test_a_count_of_lost_records_that_is_none_costs_no_record(count: Any) -> None:
    batch = read_batch(GOOD | {"dropped": count})
    assert len(batch.logged) == 4
    assert batch.dropped == 0
    (reason,) = batch.refused
    assert reason.endswith(" is no count of lost records")


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        "tags",
        GOOD["records"][0],
        GOOD | {"tags": 1},
        GOOD | {"scalars": None},
        GOOD | {"scalars": [[0, 0], [1.0, 2.0], [None, None]]},
        GOOD | {"scalars": [[0, 0, 0], [1.0], [None], [0.0]]},
        GOOD | {"places": []},
        GOOD | {"records": None},
        {key: value for key, value in GOOD.items() if key != "dropped"},
    ],
)
def test_what_is_no_batch_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="this is no batch of records"):
        read_batch(data)
