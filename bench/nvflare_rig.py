"""NVFLARE's two ends of a pipe, FlareAgent and TaskExchanger; runs in NVFLARE's environment.

    python nvflare_rig.py root    URL
    python nvflare_rig.py trainer PIPE PLACE POLL SIZE
    python nvflare_rig.py site    PIPE PLACE POLL SIZE REPEATS

PIPE is ``file``, with a folder as PLACE, or ``cell``, with the address of the root cell. POLL is
the pause between two looks in seconds, or ``default`` for those that NVFLARE comes with. The site
says when the trainer may start, then prints the seconds of each round trip, and ends when its
standard input does.
"""

from __future__ import annotations

import json
import sys
import time
from unittest.mock import MagicMock

from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.decomposers import common_decomposers
from nvflare.app_common.executors.task_exchanger import TaskExchanger
from nvflare.client.flare_agent import AgentClosed, FlareAgent
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.utils.constants import Mode
from nvflare.fuel.utils.pipe.cell_pipe import CellPipe
from nvflare.fuel.utils.pipe.file_pipe import FilePipe
from nvflare.fuel.utils.pipe.pipe import Pipe

from model_rig import make_model, read

SITE = "site-1"
TOKEN = "bench"  # noqa: S105
PATIENCE = 300.0


def pipe_of(kind: str, place: str, poll: float | None, mode: Mode) -> Pipe:
    if kind == "file":
        return FilePipe(mode, place, *([] if poll is None else [poll]))
    # Plain strings: since Python 3.11 its own enum reads as "mode.active", which it refuses.
    return CellPipe(mode.value.upper(), SITE, TOKEN, place, secure_mode=False)


def be_the_root(url: str) -> None:
    """The cell that both ends of a CellPipe connect to; ends when its standard input does."""
    cell = Cell(fqcn="server", root_url=url, secure=False, credentials={})
    cell.start()
    print("ready", flush=True)
    sys.stdin.read()
    cell.stop()


def be_the_trainer(pipe: Pipe, poll: float | None, size: int) -> None:
    """Reads each task, and sends a model of its own."""
    own = make_model(size)
    agent = FlareAgent(pipe, submit_result_timeout=PATIENCE, **_all(poll, "read_interval"))
    agent.start()
    while True:
        try:
            task = agent.get_task()
        except AgentClosed:
            break
        read(task.data.data)
        agent.submit_result(DXO(DataKind.WEIGHTS, own))
    agent.stop()


def be_the_site(pipe: Pipe, poll: float | None, size: int, repeats: int) -> None:
    engine = MagicMock()  # a TaskExchanger asks it for the pipe, and for nothing else
    engine.get_component.return_value = pipe
    context = FLContext()
    context.set_prop(ReservedKey.ENGINE, engine, private=True, sticky=False)
    context.set_prop(ReservedKey.IDENTITY_NAME, SITE, private=False, sticky=False)
    context.set_prop(FLContextKey.CURRENT_RUN, "bench", private=False, sticky=False)
    polls = _all(poll, "read_interval", "result_poll_interval")
    exchanger = TaskExchanger("pipe", peer_read_timeout=PATIENCE, **polls)
    exchanger.handle_event(EventType.START_RUN, context)
    exchanger.handle_event(EventType.BEFORE_TASK_EXECUTION, context)
    print("ready", flush=True)
    while not exchanger.peer_is_up_or_dead():  # as NVFLARE's launcher waits
        time.sleep(0.05)
    model = make_model(size)
    for number in range(repeats):
        task = DXO(DataKind.WEIGHTS, model).to_shareable()
        task.set_header(FLContextKey.TASK_ID, f"task-{number}")
        task.set_header(FLContextKey.TASK_NAME, "train")
        began = time.perf_counter()
        result = exchanger.execute("train", task, context, Signal())
        seconds = time.perf_counter() - began
        if result.get_return_code() != "OK":
            raise SystemExit(f"task {number} failed: {result.get_return_code()}")
        print(json.dumps(seconds), flush=True)
    sys.stdin.read()
    exchanger.handle_event(EventType.ABOUT_TO_END_RUN, context)


def _all(value: float | None, *names: str) -> dict[str, float]:
    return {} if value is None else dict.fromkeys(names, value)


def main() -> None:
    role, *arguments = sys.argv[1:]
    flare_decomposers.register()
    common_decomposers.register()
    if role == "root":
        be_the_root(*arguments)
        return
    kind, place, interval, *numbers = arguments
    poll = None if interval == "default" else float(interval)
    if role == "trainer":
        be_the_trainer(pipe_of(kind, place, poll, Mode.ACTIVE), poll, *map(int, numbers))
    else:
        be_the_site(pipe_of(kind, place, poll, Mode.PASSIVE), poll, *map(int, numbers))


if __name__ == "__main__":
    main()
