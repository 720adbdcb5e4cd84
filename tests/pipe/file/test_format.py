"""What lies in a FilePipe's folder, version 1: if this fails, two releases no longer meet there."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from federant.codec import read_layout
from federant.pipe import FilePipe, Message, Mode

LONG = 60.0


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_lies_in_the_folder_is_what_it_was_in_version_1(tmp_path: Path) -> None:
    agent = FilePipe(Mode.ACTIVE, tmp_path, 0.02)
    agent.open("task")
    (link,) = (tmp_path / "task").glob("link-*")
    assert names(link) == {"to_passive", "to_active", "aside", "taken"}
    job = FilePipe(Mode.PASSIVE, tmp_path, 0.02)
    job.open("task")
    assert names(tmp_path / "task") == {"holder", "taken", link.name}
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(agent.send, Message.new_request("first", None, 1), LONG)
        assert job.receive(LONG) is not None
        assert sending.result(LONG) is True
    cards = [tmp_path / "task/holder", link / "to_passive/alive", link / "to_active/alive"]
    for card in cards:
        said = json.loads(card.read_bytes())
        assert said["protocol"] == "federant.filepipe"
        assert said["version"] == 1
        assert set(said) == {
            *("protocol", "version", "id", "pid", "kernel", "device", "inode", "locked"),
        }
    assert agent.send(Message.new_reply("train", {"a": 1}, "task-1", "id-1"), 0)
    assert agent.send(Message.new_request("train", None, "id-2"), 0.01) is False
    messages = {name for name in names(link / "to_passive") if name.startswith("m-")}
    assert messages == {"m-000000000002-n", "m-000000000003-w"}
    frame = (link / "to_passive/m-000000000002-n").read_bytes()
    kind, topic, msg_id, req_id, sent = read_layout(frame, len(frame)).envelope["message"]
    assert (kind, topic, msg_id, req_id) == ("REP", "train", "id-1", "task-1")
    assert isinstance(sent, float)
    job.clear()
    assert "r-000000000003-dropped" in names(link / "to_active")
    assert job.send(Message.new_request("task", None, "id-3"), 0)
    job.close()
    assert json.loads((link / "to_active/bye").read_bytes()) == {
        "text": "it closed its end",
        "clean": True,
        "final": False,
    }
    agent.close()
    assert not link.exists()
