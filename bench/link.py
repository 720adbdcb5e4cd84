"""A large body from a site to the server and back, held against bare sockets in the same run.

Once over mutual TLS, against Python's own ssl over a socket, and once without TLS, against a
socket.  The server is a process of its own; it checks the digest of what it takes and writes it
to its disk (``fsync``), the site checks the digest of what it gets and writes it to a file.  The
ways take turns, and of each the fastest counts.

    python bench/link.py [--mb 1000] [--times 3] [--folder /dev/shm]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from federant.link import BlobRef, LinkClient, blob_ref
from federant.link.kit import Kit
from federant.link.messages import SiteState
from federant.link.operator import connect
from federant.provision import FederationKits, make_federation
from socket_rig import BLOCK, Way, other_side, transfer

SITE = "site-1"
WAIT_SECONDS = 60.0
MB = 1_000_000


def taken(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


class Peak:
    """The most memory that a process needed since this was made."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self._folder.joinpath("clear_refs").write_text("5")
        self._before = self._megabytes("VmHWM")

    def __str__(self) -> str:
        more = self._megabytes("VmHWM") - self._before
        return f"{self._megabytes('VmHWM'):.0f} MB ({more:+.0f})"

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

    def up(self) -> float:
        """Seconds for a body that the server has not seen; its file is removed again."""
        self._number += 1
        blocks = [self._block[: min(BLOCK, self.size - at)] for at in range(0, self.size, BLOCK)]
        blocks[0] = memoryview(self._number.to_bytes(8, "little") + bytes(blocks[0][8:]))
        blob = blob_ref(blocks)
        seconds = taken(lambda: self.site.put_blob(blob, lambda offset: blocks[offset // BLOCK :]))
        next((self.folder / "server").rglob(blob.digest)).unlink()
        return seconds

    def down(self) -> float:
        """Seconds for a task's body, into a file."""
        blob, place = self._given(), self.folder / "received"
        seconds = taken(lambda: self.site.download_blob(blob, place))
        place.unlink()
        return seconds

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


def measure(folder: Path, kits: FederationKits | None, size: int, times: int) -> None:
    folder.mkdir()
    link = Link(folder, kits, size)
    kit = kits.operators["operator"] if kits else None
    name = "ssl" if kits else "socket"
    try:
        with other_side(size, kits.server if kits else None) as port:
            for way, ours in ((Way.UP, link.up), (Way.DOWN, link.down)):
                ours()  # warms up
                server_peak, site_peak = Peak(link.pid), Peak(os.getpid())
                both = [
                    (ours(), taken(lambda way=way: transfer(port, size, kit, way)))
                    for _ in range(times)
                ]
                link_seconds, bare_seconds = (min(column) for column in zip(*both, strict=True))
                print(
                    f"{'mutual TLS' if kits else 'no TLS':<10} {way.name.lower():<4} "
                    f"{size / 1e9 / link_seconds:.2f} GB/s, {name} {size / 1e9 / bare_seconds:.2f} "
                    f"GB/s: {100 * bare_seconds / link_seconds:.0f} %; most memory: server "
                    f"{server_peak}, site {site_peak}",
                    flush=True,
                )
    finally:
        link.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the server's folder is made")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="federant-bench-", dir=args.folder) as name:
        folder = Path(name)
        kits = make_federation(folder / "kits", sites=[SITE], operators=["operator"])
        measure(folder / "tls", kits, args.mb * MB, args.times)
        measure(folder / "plain", None, args.mb * MB, args.times)


if __name__ == "__main__":
    main()
