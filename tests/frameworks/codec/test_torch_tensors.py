"""What comes out of a frame for a torch tensor equals what went in, type for type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from federant.codec import TorchArray, decode, encode  # noqa: E402
from federant.exchange import DXO, DataKind  # noqa: E402
from federant.server.aggregation import WeightedMean  # noqa: E402

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
    torch.complex64,
    torch.complex128,
]


def bits(tensor: Any) -> bytes:
    """A tensor's bytes, which are the same also where a NaN is."""
    if not tensor.numel():
        return b""
    whole = tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    return whole.clone(memory_format=torch.contiguous_format).view(torch.uint8).numpy().tobytes()


def assert_same(found: Any, sent: Any) -> None:
    assert type(found) is torch.Tensor
    assert found.dtype == sent.dtype
    assert found.shape == sent.shape
    assert not found.requires_grad
    assert bits(found) == bits(sent)


def round_trip(body: object) -> Any:
    return decode(bytearray(encode(body).to_bytes())).body


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    size = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype == torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    whole = torch.tensor(list(raw), dtype=torch.uint8).view(dtype).reshape(shape)
    turned = whole.permute(draw(st.permutations(range(whole.ndim))))
    return turned[::2] if turned.ndim and draw(st.booleans()) else turned


@given(tensors())
def test_any_tensor_comes_back_with_its_type(tensor: Any) -> None:
    found = round_trip({"w": tensor, "more": [(tensor,)]})
    assert_same(found["w"], tensor)
    assert_same(found["more"][0][0], tensor)


@given(tensors())
def test_a_process_without_torch_hands_on_what_it_got(tensor: Any) -> None:
    """The server and the client job read a frame this way, and write it again."""
    frame = encode({"w": tensor}).to_bytes()
    between = decode(frame, frameworks=False).body["w"]
    assert type(between) is TorchArray
    assert encode({"w": between}).to_bytes() == frame
    assert_same(between.tensor(), tensor)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_tensors_share_the_memory_of_frame_and_sender(dtype: Any) -> None:
    sent = torch.zeros(64, dtype=torch.uint8).view(dtype)
    frame = encode({"w": sent})
    _, chunk = frame.chunks()
    assert np.frombuffer(chunk, "u1").ctypes.data == sent.data_ptr()
    buffer = bytearray(frame.to_bytes())
    found = decode(buffer).body["w"]
    start = np.frombuffer(buffer, "u1").ctypes.data
    assert found.data_ptr() == start + frame.tensors[0].start
    found.view(torch.uint8)[:] = 1
    assert bytes(buffer[-64:]) == b"\1" * 64


def test_a_tensor_from_bytes_that_nobody_may_write_to_is_a_copy() -> None:
    frame = encode({"w": torch.ones(3)}).to_bytes()
    found = decode(frame).body["w"]
    found += 1
    assert decode(frame).body["w"].tolist() == [1, 1, 1]


def test_parameters_and_tensors_with_a_gradient_come_back_detached() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    computed = parameter * 2
    buffer = torch.nn.Buffer(torch.ones(2))
    for sent in (parameter, computed, buffer):
        assert_same(round_trip([sent])[0], sent)


def test_views_that_are_conjugated_or_negated_late_come_back_by_their_values() -> None:
    tensor = torch.tensor([1 + 2j, 3 - 4j])
    for sent in (tensor.conj(), tensor.conj().imag):
        assert sent.is_conj() or sent.is_neg()
        assert_same(round_trip(sent), sent)


def test_a_modules_state_comes_back_and_loads_again() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)).to(torch.bfloat16)
    state = round_trip(DXO(DataKind.WEIGHTS, dict(model.state_dict()))).data
    other = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)).to(torch.bfloat16)
    other.load_state_dict(state)
    for name, tensor in model.state_dict().items():
        assert_same(other.state_dict()[name], tensor)


def test_a_module_s_own_state_dict_travels_as_it_is() -> None:
    state = torch.nn.Linear(2, 2).state_dict()  # an OrderedDict
    assert round_trip(state).keys() == state.keys()


def test_an_optimizers_state_comes_back() -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    found = round_trip(state)
    assert found["param_groups"] == state["param_groups"]
    for number, entry in state["state"].items():
        for name, tensor in entry.items():
            assert_same(found["state"][number][name], tensor)


def test_the_safetensors_library_reads_the_frame_as_torch_tensors(tmp_path: Path) -> None:
    safetensors_torch = pytest.importorskip("safetensors.torch")
    model = {str(dtype): torch.zeros(4, dtype=torch.uint8).view(dtype) for dtype in DTYPES[:3]}
    model |= {str(d): torch.ones(2, 3).to(d) for d in (torch.bfloat16, torch.float8_e4m3fn)}
    found = safetensors_torch.load(encode(model).to_bytes())
    for name, tensor in model.items():
        assert_same(found[name], tensor)
    path = tmp_path / "model.safetensors"
    path.write_bytes(encode({str(dtype): torch.zeros(3).to(dtype) for dtype in DTYPES}).to_bytes())
    with safetensors.safe_open(path, "pt") as opened:
        assert len(list(opened.keys())) == len(DTYPES)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: torch.eye(2).to_sparse(), r"layout torch.sparse_coo; send tensor.to_dense\(\)"),
        (lambda: torch.ones(2, device="meta"), "on the meta device, which has no values"),
        (lambda: torch.zeros(2, dtype=torch.uint8).view(torch.bits8), "dtype torch.bits8; torch"),
    ],
    ids=["sparse", "meta", "bits"],
)
def test_a_tensor_without_plain_values_is_refused_by_its_path(make: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=rf"^data\['w'\] cannot travel: .*{reason}"):
        encode(DXO(DataKind.WEIGHTS, {"w": make()}))


def test_a_tensor_that_stands_for_others_is_refused() -> None:
    class Wrapper(torch.Tensor):  # type: ignore[misc]
        @classmethod
        def __torch_dispatch__(cls, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    wrapped = torch.Tensor._make_wrapper_subclass(Wrapper, (2,))
    with pytest.raises(TypeError, match="Wrapper, whose values are elsewhere; send the plain"):
        encode([wrapped])


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "xpu", "cpu"])
def test_a_tensor_that_only_claims_to_be_on_a_device_is_refused(device: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        tensor = torch.empty(2, dtype=torch.bfloat16, device=device)
    assert tensor.device.type == torch.device(device).type
    with pytest.raises(TypeError, match=r"FakeTensor, whose values are elsewhere; send the plain"):
        encode(DXO(DataKind.WEIGHTS, {"w": tensor}))


def test_a_numpy_array_of_torch_becomes_a_tensor_whatever_its_layout() -> None:
    whole = np.arange(12, dtype=">f4").reshape(3, 4).view(TorchArray)
    for array in (whole, whole[::-1], whole.T, whole[0, 0:1].reshape(())):
        assert array.tensor().tolist() == array.tolist()
    with pytest.raises(TypeError, match=r"torch .* has no dtype for numpy's datetime64\[s\]"):
        np.zeros(2, "M8[s]").view(TorchArray).tensor()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float32], ids=str)
def test_the_servers_mean_of_torch_tensors_is_a_torch_tensor_to_who_takes_it(dtype: Any) -> None:
    mean = WeightedMean()
    for number in (1, 2, 6):
        model = {"w": torch.full((2, 2), number).to(dtype), "n": torch.tensor(number)}
        frame = encode(DXO(DataKind.WEIGHTS, model)).to_bytes()
        mean.add(decode(frame, frameworks=False).body, 1)  # as the server reads it
    found = round_trip(mean.mean()).data
    assert_same(found["w"], torch.full((2, 2), 3).to(dtype))
    assert_same(found["n"], torch.tensor(3))


READER = """
import sys
from federant.codec import TorchArray, decode, encode

frame = bytearray(open(sys.argv[1], "rb").read())
body = decode(frame).body
assert all(type(array) is TorchArray for array in body.values()), body
assert encode(body).to_bytes() == bytes(frame)
assert "torch" not in sys.modules
"""


def test_a_process_that_has_not_imported_torch_does_not_import_it_for_a_frame(
    tmp_path: Path,
) -> None:
    path = tmp_path / "frame"
    path.write_bytes(encode({str(d): torch.ones(3).to(d) for d in DTYPES}).to_bytes())
    subprocess.run([sys.executable, "-c", READER, path], check=True, timeout=60)
