"""What `federant job model` writes, as other programs see it."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from typer.testing import CliRunner

from federant.cli.app import app
from federant.codec import decode, encode
from federant.exchange import DXO, DataKind
from federant.link.operator import connect


class SavedModel(NamedTuple):
    path: Path
    kept: bytes
    said: str


def saved_model(server, tmp_path: Path, data: dict[str, Any]) -> SavedModel:
    """What `federant job model` makes of a model that the server keeps."""
    kept = encode(DXO(DataKind.WEIGHTS, data, {"n": 1})).to_bytes()
    with connect(server.url) as federation:
        job = federation.submit(trainer="digits")
    server.store.save_model(job.id, 1, server.blobs.put([kept]))
    file = tmp_path / "saved.safetensors"
    done = CliRunner().invoke(
        app, ["job", "model", job.id, str(file)], env={"FEDERANT_SERVER": server.url}
    )
    assert done.exit_code == 0
    return SavedModel(file, kept, done.output)


def test_lists_and_numbers_in_a_model_are_saved_as_tensors(server, tmp_path: Path) -> None:
    data = {
        "w": [1.0, 2.5],
        "table": [[1, 2], (3, 4)],
        "ragged": [[1.0], [2.0, 3.0]],
        "inner": {"rate": 0.5, "steps": 3, "flag": True, "half": np.float16(2)},
        "array": np.ones(2, "f4"),
        "note": "trained",
        "huge": [1, 2**70],
        "none": None,
        "empty": [],
    }
    file = saved_model(server, tmp_path, data)
    tensors = safetensors.numpy.load_file(file.path)
    assert {name: (tensor.dtype.name, tensor.tolist()) for name, tensor in tensors.items()} == {
        "w": ("float64", [1, 2.5]),
        "table": ("int64", [[1, 2], [3, 4]]),
        "ragged.0": ("float64", [1]),
        "ragged.1": ("float64", [2, 3]),
        "inner.rate": ("float64", 0.5),
        "inner.steps": ("int64", 3),
        "inner.flag": ("bool", True),
        "inner.half": ("float16", 2),
        "array": ("float32", [1, 1]),
        "huge.0": ("int64", 1),
    }
    assert "of the model, 'note', 'huge.1', 'none' cannot be tensors: " in file.said
    # Another job begins with it, and its meta is as it was.
    with connect(server.url) as federation:
        federation.submit(trainer="digits", initial_model=file.path)
    back = decode(file.path.read_bytes()).body
    assert (back.data["note"], back.data["empty"], back.meta) == ("trained", [], {"n": 1})


def test_a_model_of_tensors_is_saved_as_the_bytes_that_the_server_keeps(
    server, tmp_path: Path
) -> None:
    data = {"w": np.ones(2), "layers": [np.zeros(1), np.zeros(2)]}
    file = saved_model(server, tmp_path, data)
    assert file.path.read_bytes() == file.kept
    assert "warning" not in file.said


def test_a_model_of_more_numbers_than_there_may_be_tensors_is_saved_as_it_is(
    server, tmp_path: Path
) -> None:
    file = saved_model(server, tmp_path, {str(number): 1.0 for number in range(65_537)})
    assert file.path.read_bytes() == file.kept
    assert "'0', '1', '2', '3', '4' and 65532 more cannot be tensors" in file.said
