"""What it costs a trainer to log one number, and how much slower its loop becomes.

The agent sends over a local pipe to a client job's relay in a process of its own. Beside it, in the
same run: a list's append, which is what the machine allows, and, where tensorboard is installed,
the event file writer that a script without federation would use. Then what a site's events cost on
the rest of their way: over HTTP into a real server's database.

    python bench/metrics.py [--calls 20000] [--seconds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from federant.client import FlareAgent
from federant.client.tracking import SummaryWriter
from federant.link import LinkClient
from federant.link.messages import Event
from federant.link.operator import connect
from federant.pipe import LocalPipe, Mode
from federant.site.events import EventSender
from federant.site.metrics import MetricRelay
from report_rig import Row, add_options, report

Log = Callable[[str, float, int], object]

PACE_SECONDS = 0.001
ROUNDS = 5
WIDTH = 192  # of the matrices that the loop multiplies: a step of some tenths of a millisecond
PATIENCE = 60.0


def cost(log: Log, count: int, pace: float) -> np.ndarray:
    """Seconds that each of so many calls took, with so long a pause before each."""
    taken = np.empty(count)
    clock = time.perf_counter
    for number in range(count):
        if pace:
            time.sleep(pace)
        began = clock()
        log("train/loss", 1.0 / (number + 1), number)
        taken[number] = clock() - began
    return taken


def steps_in(seconds: float, log: Log | None, every: float) -> tuple[float, float]:
    """What a step of a training loop takes that logs at most each ``every`` seconds.

    In seconds: of the clock, and of this process's CPU time, all threads together.
    """
    data = np.random.default_rng(0).standard_normal((WIDTH, WIDTH), dtype=np.float32)
    weights = data / np.linalg.norm(data)
    clock = time.perf_counter
    cpu = time.process_time()
    began = due = clock()
    steps = 0
    while (now := clock()) - began < seconds:
        weights = weights @ data
        loss = float(np.abs(weights).max())
        weights /= loss
        if log is not None and now >= due:
            log("train/loss", loss, steps)
            due = now + every
        steps += 1
    return (clock() - began) / steps, (time.process_time() - cpu) / steps


def slowdown(seconds: float, log: Log, every: float) -> tuple[float, float, float]:
    """Records a second, and by what part a step takes longer: of the clock, and of CPU time.

    Each measurement lies between two of the bare loop, as the machine has other things to do.
    """
    more = []
    for _ in range(ROUNDS):
        before, logging, after = (
            steps_in(seconds / ROUNDS, way, every) for way in (None, log, None)
        )
        more.append([2 * logging[n] / (before[n] + after[n]) - 1 for n in (0, 1)])
    clock, cpu = np.median(more, axis=0)
    rate = 1 / logging[0]
    return rate if not every else min(rate, 1 / every), clock, cpu


@contextmanager
def agent_and_relay(folder: Path) -> Iterator[FlareAgent]:
    command = [sys.executable, __file__, "--relay", str(folder)]
    relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert relay.stdin is not None
    assert relay.stdout is not None
    relay.stdout.readline()
    pipe = LocalPipe(Mode.ACTIVE, folder, "bench")
    with FlareAgent(metric_pipe=pipe, heartbeat_timeout=0) as agent:
        yield agent
        agent.flush_metrics(PATIENCE)
        dropped = agent.metrics_dropped
    relay.stdin.close()
    print(f"read by the client job: {relay.stdout.read().strip()} records; dropped: {dropped}")
    relay.wait()
    relay.stdout.close()


def be_the_relay(folder: Path) -> None:
    count = 0

    def on_events(events: Sequence[Event]) -> None:
        nonlocal count
        count += len(events)

    relay = MetricRelay(LocalPipe(Mode.PASSIVE, folder, "bench"), on_events)
    relay.start()
    print("ready", flush=True)
    sys.stdin.read()
    relay.close()
    print(count)


def event_file_writer(folder: Path) -> Log | None:
    """tensorboard's own writer, the one that its summaries use."""
    try:
        from tensorboard.compat.proto.event_pb2 import Event as FileEvent
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ModuleNotFoundError:
        return None
    writer = EventFileWriter(str(folder))

    def log(tag: str, value: float, step: int) -> None:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(FileEvent(wall_time=time.time(), step=step, summary=summary))

    return log


def through_the_server(folder: Path, count: int) -> float:
    """Events a second from a site's queue into the server's database, synced to the disk."""
    code = (
        "import pathlib, sys; from federant.server.daemon import run_server;"
        "run_server(pathlib.Path(sys.argv[1]))"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    url = server.stdout.readline().split()[-1]
    with connect(url) as federation, LinkClient(url, "site-1") as link:
        link.hello("bench")
        job = federation.submit(trainer="bench", sites=["site-1"])
        sender = EventSender(link, job.id, print)
        events = [
            Event(id=str(number), kind="METRIC", tag="train/loss", value=0.5, step=number)
            for number in range(count)
        ]
        began = time.perf_counter()
        sender.add(events)
        sender.start()
        sender.flush(PATIENCE)
        seconds = time.perf_counter() - began
        sender.stop()
        stored = job.metrics().metrics[0].count
    server.terminate()
    server.wait()
    server.stdout.close()
    return float(stored) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each loop")
    parser.add_argument("--relay", type=Path, help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    if options.relay is not None:
        be_the_relay(options.relay)
        return
    report(measure(options.calls, options.seconds), options.json)


def measure(calls: int, seconds: float) -> Iterator[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        agent = stack.enter_context(agent_and_relay(folder / "pipe"))
        writer = SummaryWriter(agent)
        kept: list[tuple[str, float, int]] = []
        ways: dict[str, Log] = {
            "list.append": lambda tag, value, step: kept.append((tag, value, step)),
            "SummaryWriter": writer.add_scalar,
        }
        local = event_file_writer(folder / "runs")
        if local is not None:
            ways["tensorboard's event file"] = local
        agent.flush_metrics(PATIENCE)
        for pace, words in ((0.0, "one after the other"), (PACE_SECONDS, "1,000 a second")):
            for name, log in ways.items():
                taken = cost(log, calls if not pace else min(calls, 2000), pace)
                median, tail = np.percentile(taken, [50, 99]) * 1e6
                yield row(f"a call, {words}", name, us=float(median), tail=float(tail))
                agent.flush_metrics(PATIENCE)
        for every, words in ((PACE_SECONDS, "1,000 a second"), (0.0, "each step")):
            for name, log in ways.items():
                rate, clock, cpu = slowdown(seconds, log, every)
                yield row(f"a numpy loop, {words}", name, rate=rate, slower=clock, cpu=cpu)
                agent.flush_metrics(PATIENCE)
    with tempfile.TemporaryDirectory() as folder:
        rate = through_the_server(Path(folder) / "server", calls)
        yield row("from a site into the server", "EventSender", rate=rate)


def row(
    what: str,
    by: str,
    *,
    us: float | None = None,
    tail: float | None = None,
    rate: float | None = None,
    slower: float | None = None,
    cpu: float | None = None,
) -> Row:
    return {
        "what": what,
        "by": by,
        "median us": None if us is None else round(us, 1),
        "99th percentile": None if tail is None else round(tail, 1),
        "records/s": None if rate is None else round(rate),
        "% slower": None if slower is None else round(100 * slower, 1),
        "% more CPU": None if cpu is None else round(100 * cpu, 1),
    }


if __name__ == "__main__":
    main()
