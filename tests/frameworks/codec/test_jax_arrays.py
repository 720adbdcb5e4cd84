"""What comes out of a frame for an array of jax equals what went in, type for type."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

jax = pytest.importorskip("jax")
jnp = jax.numpy

from federant.codec import JaxArray, decode, encode  # noqa: E402
from federant.exchange import DXO, DataKind  # noqa: E402

DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "int8",
    "int16",
    "int32",
    "float16",
    "bfloat16",
    "float32",
    "complex64",
    *[name for name in dir(jnp) if name.startswith("float8_")],
]
WIDE = ["uint64", "int64", "float64", "complex128"]


def assert_same(found: Any, sent: Any) -> None:
    assert isinstance(found, jax.Array)
    assert found.dtype == sent.dtype
    assert found.shape == sent.shape
    assert np.asarray(found).tobytes() == np.asarray(sent).tobytes()


def round_trip(body: object) -> Any:
    return decode(bytearray(encode(body).to_bytes())).body


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    dtype = jnp.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    size = int(np.prod(shape)) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype.name == "bool":
        raw = bytes(byte & 1 for byte in raw)
    return jnp.array(np.frombuffer(raw, dtype).reshape(shape))


@given(arrays())
def test_any_array_comes_back_with_its_type(array: Any) -> None:
    found = round_trip({"w": array, "more": [(array.T,)]})
    assert_same(found["w"], array)
    assert_same(found["more"][0][0], array.T)


@given(arrays())
def test_a_process_without_jax_hands_on_what_it_got(array: Any) -> None:
    frame = encode({"w": array}).to_bytes()
    between = decode(frame, frameworks=False).body["w"]
    assert type(between) is JaxArray
    assert encode({"w": between}).to_bytes() == frame
    assert_same(between.array(), array)


@pytest.mark.parametrize("dtype", WIDE)
def test_64_bits_stay_64_bits_also_where_jax_would_take_32(dtype: str) -> None:
    sent = np.arange(3).astype(dtype).view(JaxArray).array()
    assert sent.dtype == dtype
    assert_same(round_trip(sent), sent)


def test_a_pytree_comes_back() -> None:
    tree = {"params": {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.zeros(3)}, "n": (1, 2)}}
    found = round_trip(DXO(DataKind.WEIGHTS, tree)).data
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    assert_same(found["params"]["dense"]["kernel"], tree["params"]["dense"]["kernel"])


def test_what_has_no_values_is_refused_by_its_path() -> None:
    gone = jnp.ones(2)
    gone.delete()
    with pytest.raises(TypeError, match=r"^body\['w'\] cannot travel: jax does not give the array"):
        encode({"w": gone})
    with pytest.raises(TypeError, match=r"send jax.random.key_data\(key\)"):
        encode({"key": jax.random.key(0)})
    with pytest.raises(TypeError, match="traced by jax and has no values yet"):
        jax.jit(lambda array: encode({"w": array}))(jnp.ones(2))
    with pytest.raises(TypeError, match="an array of jax of dtype int4"):
        encode(jnp.ones(2, jnp.int4))


READER = """
import sys
from federant.codec import JaxArray, decode, encode

frame = bytearray(open(sys.argv[1], "rb").read())
body = decode(frame).body
assert all(type(array) is JaxArray for array in body.values()), body
assert encode(body).to_bytes() == bytes(frame)
assert "jax" not in sys.modules
"""


def test_a_process_that_has_not_imported_jax_does_not_import_it_for_a_frame(
    tmp_path: Path,
) -> None:
    path = tmp_path / "frame"
    path.write_bytes(encode({name: jnp.ones(3, name) for name in DTYPES}).to_bytes())
    subprocess.run([sys.executable, "-c", READER, path], check=True, timeout=60)
