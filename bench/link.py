"""A large body from a site to the server and back, held against bare sockets in the same run.

Once over mutual TLS, against Python's own ssl over a socket, and once without TLS, against a
socket.  The server is a process of its own; it checks the digest of what it takes and writes it
to its disk (``fsync``), the site checks the digest of what it gets and writes it to a file.  The
bare ways carry bytes from memory to memory; a third has digest and file too, in a second thread,
as ours have.
All take turns, and of each the median counts.  Processor time, which neighbours on the machine
disturb less than they do seconds, is of both ends together.

    python bench/link.py [--mb 1000] [--times 5] [--folder /dev/shm] [--json FILE]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from federant.link import BlobRef, LinkClient, blob_ref
from federant.link.kit import Kit
from federant.link.messages import SiteState
from federant.link.operator import connect
from federant.provision import FederationKits, make_federation
from report_rig import Row, add_options, report
from socket_rig import BLOCK, Way, Work, other_side, transfer

SITE = "site-1"
WAIT_SECONDS = 60.0
MB = 1_000_000


class Cost(NamedTuple):
    """What one transfer took, in seconds."""

    wall: float
    there: float
    """Of processor time, in the other process."""
    here: float


def taken(act: Callable[[], object], other: int) -> Cost:
    """What it took, in this process and the one of that id."""
    process = psutil.Process(other)
    times = process.cpu_times()
    began, here = time.perf_counter(), time.process_time()
    act()
    wall, here = time.perf_counter() - began, time.process_time() - here
    after = process.cpu_times()
    return Cost(wall, after.user + after.system - times.user - times.system, here)


class Peak:
    """The most memory that a process needed since this was made."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._folder.joinpath("clear_refs").write_text("5")
        self._before = self._megabytes("VmHWM")

    def figures(self, who: str) -> dict[str, float]:
        """The most, and how much of it was not there before."""
        most = self._megabytes("VmHWM")
        return {f"{who} MB": round(most), f"{who} more": round(most - self._before)}

    def _megabytes(self, line: str) -> float:
        for each in self._folder.joinpath("status").read_text().splitlines():
            if each.startswith(line):
                return int(each.split()[1]) * 1024 / MB
        raise LookupError(line)


@contextmanager
def server(folder: Path, kit: Kit | None) -> Iterator[tuple[str, int]]:
    """The address and process id of `federant server`."""
    command = [sys.executable, "-m", "federant", "server", str(folder), "--port", "0"]
    if kit is not None:
        command += ["--kit", str(kit.folder), "--host", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            yield next(word for word in line.split() if word.startswith("http")), process.pid
        finally:
            process.terminate()


def submit(url: str, kit: Path | None, size: int) -> None:
    """A job whose first task has a body of that size, nearly."""
    with connect(url, kit=kit) as federation:
        model = {"w": np.zeros(size // 8)}
        federation.submit(trainer="bench", sites=[SITE], initial_model=model)


class Link:
    """One site that sends results and gets a task."""

    def __init__(self, folder: Path, kits: FederationKits | None, size: int) -> None:
        self.folder = folder
        self.size = size
        self._stack = ExitStack()
        self.url, self.pid = self._stack.enter_context(
            server(folder / "server", kits.server if kits else None)
        )
        kit = kits.sites[SITE] if kits else None
        self.site = self._stack.enter_context(LinkClient(self.url, SITE, kit=kit))
        self._operator = kits.operators["operator"].folder if kits else None
        self._number = 0
        self._task: BlobRef | None = None
        self._block = memoryview(np.random.default_rng(0).bytes(BLOCK))

    def close(self) -> None:
        self._stack.close()

    def up(self) -> Cost:
        """For a body that the server has not seen; its file is removed again."""
        self._number += 1
        blocks = [self._block[: min(BLOCK, self.size - at)] for at in range(0, self.size, BLOCK)]
        blocks[0] = memoryview(self._number.to_bytes(8, "little") + bytes(blocks[0][8:]))
        blob = blob_ref(blocks)
        cost = taken(
            lambda: self.site.put_blob(blob, lambda offset: blocks[offset // BLOCK :]), self.pid
        )
        next((self.folder / "server").rglob(blob.digest)).unlink()
        return cost

    def down(self) -> Cost:
        """For a task's body, into a file."""
        blob, place = self._given(), self.folder / "received"
        cost = taken(lambda: self.site.download_blob(blob, place), self.pid)
        place.unlink()
        return cost

    def _given(self) -> BlobRef:
        if self._task is None:
            self.site.hello("bench")
            # Elsewhere, as the model would count as this process's memory.
            arguments = (self.url, self._operator, self.size)
            process = multiprocessing.get_context("spawn").Process(target=submit, args=arguments)
            process.start()
            (job,) = self.site.next_jobs({}, WAIT_SECONDS)
            self.site.report_site_state(job.job_id, SiteState.READY)
            reply = self.site.next_task(job.job_id, "bench", wait_seconds=WAIT_SECONDS)
            process.join()
            assert reply.task is not None
            self._task = reply.task.blob
        assert self._task is not None
        return self._task


def measure(folder: Path, kits: FederationKits | None, size: int, times: int) -> Iterator[Row]:
    folder.mkdir()
    link = Link(folder, kits, size)
    kit = kits.operators["operator"] if kits else None
    bare = "ssl" if kits else "socket"
    try:
        with other_side(size, kits.server if kits else None, folder) as (port, pid):

            def over_bare(way: Way, work: Work) -> Cost:
                return taken(lambda: transfer(port, size, kit, way, work, folder), pid)

            for way, ours in ((Way.UP, link.up), (Way.DOWN, link.down)):
                ways = {
                    bare: lambda way=way: over_bare(way, Work.NONE),
                    f"{bare}, digest, file": lambda way=way: over_bare(way, Work.DIGEST_AND_FILE),
                    "federant": ours,
                }
                for act in ways.values():
                    act()  # warms up
                peaks = {"server": Peak(link.pid), "site": Peak(os.getpid())}
                turns = [[act() for act in ways.values()] for _ in range(times)]
                memory = {
                    name: figure
                    for who, peak in peaks.items()
                    for name, figure in peak.figures(who).items()
                }
                costs = {
                    name: Cost(*map(statistics.median, zip(*each, strict=True)))
                    for name, each in zip(ways, zip(*turns, strict=True), strict=True)
                }
                for name, cost in costs.items():
                    yield {
                        "way": f"{'mutual TLS' if kits else 'no TLS'} {way.name.lower()}",
                        "by": name,
                        "GB/s": round(size / 1e9 / cost.wall, 3),
                        "% of bare": round(100 * costs[bare].wall / cost.wall),
                        "CPU s/GB": round((cost.there + cost.here) / size * 1e9, 2),
                        "of it there": round(cost.there / size * 1e9, 2),
                        **(memory if name == "federant" else dict.fromkeys(memory)),
                    }
    finally:
        link.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the server's folder is made")
    add_options(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="federant-bench-", dir=args.folder) as name:
        folder = Path(name)
        kits = make_federation(folder / "kits", sites=[SITE], operators=["operator"])
        rows = [
            *measure(folder / "tls", kits, args.mb * MB, args.times),
            *measure(folder / "plain", None, args.mb * MB, args.times),
        ]
    report(rows, args.json)


if __name__ == "__main__":
    main()
