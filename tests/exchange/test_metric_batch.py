"""Records in a batch come out as they went in, and what is no batch is refused."""

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


GOOD = batch_of(MetricBatch([Logged(0.0, Scalar("x", 1.0, 1)), Logged(1.0, note("y"))], 0))


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        GOOD | {"tags": []},
        GOOD | {"tags": [7]},
        GOOD | {"scalars": [[0], ["1"], [None], [0.0]]},
        GOOD | {"scalars": [[0], [1.0], [1.5], [0.0]]},
        GOOD | {"scalars": [[0], [1.0], [None]]},
        GOOD | {"scalars": [[0, 0], [1.0], [None], [0.0]]},
        GOOD | {"records": [{"no": "DXO"}]},
        GOOD | {"places": []},
        GOOD | {"times": [None]},
        GOOD | {"times": [10**400]},
        GOOD | {"dropped": -1},
        GOOD | {"dropped": 1 << 63},
        GOOD | {"dropped": True},
    ],
)
def test_what_is_no_batch_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match="this is no batch of records"):
        read_batch(data)
