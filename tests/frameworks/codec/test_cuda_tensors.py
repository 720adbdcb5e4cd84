"""Tensors on a card come back by their values, on the processor; skipped where there is no card."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from federant.client.difference import Received
from federant.codec import decode, encode

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card with CUDA")

CARD = f"cuda:{max(torch.cuda.device_count(), 1) - 1}"
"""The last one, which with several is not the current one."""

DTYPES = [
    torch.bool,
    torch.int64,
    torch.float32,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.complex64,
]


def round_trip(tensor: Any) -> Any:
    return decode(bytearray(encode({"w": tensor}).to_bytes())).body["w"]


def assert_equal(found: Any, expected: Any) -> None:
    assert found.device.type == "cpu"
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    wide = torch.complex64 if expected.is_complex() else torch.float64
    assert torch.equal(found.to(wide), expected.cpu().to(wide))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 4)], ids=str)
def test_a_tensor_of_any_dtype_and_shape_comes_back(dtype: Any, shape: tuple[int, ...]) -> None:
    tensor = torch.arange(12)[: max(1, torch.Size(shape).numel())].to(dtype)
    expected = (tensor[:0] if 0 in shape else tensor).reshape(shape)
    assert_equal(round_trip(expected.to(CARD)), expected)


def test_views_come_back_by_their_values() -> None:
    whole = torch.arange(24.0, device=CARD).reshape(4, 6)
    for view in (whole.T, whole[::2, 1::2], whole[1], whole[:1].expand(3, 6)):
        assert_equal(round_trip(view), view)
    late = torch.complex(whole, whole + 1).conj()
    assert_equal(round_trip(late), late.resolve_conj())


def test_what_a_stream_still_computes_is_waited_for() -> None:
    with torch.cuda.device(CARD), torch.cuda.stream(torch.cuda.Stream()):
        values = torch.zeros(1 << 22, device=CARD)
        for _ in range(200):
            values += 1
        assert_equal(round_trip(values), torch.full((1 << 22,), 200.0))


def test_a_tensor_sent_again_does_not_change_the_frame_of_the_first() -> None:
    values = torch.ones(1 << 16, device=CARD)
    first = encode({"w": values})
    values += 1
    second = encode({"w": values})
    assert decode(bytearray(first.to_bytes())).body["w"].unique().tolist() == [1.0]
    assert decode(bytearray(second.to_bytes())).body["w"].unique().tolist() == [2.0]


def test_what_no_memory_holds_is_refused_and_the_card_goes_on() -> None:
    with pytest.raises(TypeError, match="torch does not give the tensor's values"):
        encode({"w": torch.zeros(1, device=CARD).expand(1 << 46)})
    assert (torch.ones(2, device=CARD) + 1).tolist() == [2.0, 2.0]


def test_the_difference_from_what_was_received_is_on_the_processor() -> None:
    received = Received({"w": torch.ones(3)})
    found = received.difference({"w": torch.full((3,), 5.0, device=CARD)})["w"]
    assert_equal(found, torch.full((3,), 4.0))
