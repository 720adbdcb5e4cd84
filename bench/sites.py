"""Many idle sites on one server, over mutual TLS: what each costs, and how soon all have a task.

The sites are threads of one other process with the site's real client of the link; each waits for
jobs, as an idle site does. Server and sites share the machine's cores.

    python bench/sites.py [--sites 300] [--seconds 30] [--json FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from federant.link import LinkClient, LinkUnavailable
from federant.link.kit import Kit
from federant.link.messages import SiteState
from federant.link.operator import connect
from federant.provision import make_federation
from report_rig import Row, add_options, report

WAIT_SECONDS = 30.0
KB = 1000


class Meter:
    """Memory and processor time of a process."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def memory(self) -> float:
        return self._process.memory_info().rss / KB

    def processor(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


class IdleSites:
    """All the sites: each says hello and waits for a job, and then for the job's first task."""

    def __init__(self, url: str, kits: dict[str, Kit]) -> None:
        self._links = {
            name: LinkClient(url, name, kit=kit, connect_seconds=60.0) for name, kit in kits.items()
        }
        self.connected = threading.Semaphore(0)
        self.given = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(len(kits))
        self._sites = [self._pool.submit(self._be_a_site, name) for name in kits]

    def wait(self, semaphore: threading.Semaphore) -> None:
        for _ in self._sites:
            while not semaphore.acquire(timeout=1.0):
                for site in self._sites:
                    if site.done():
                        site.result()

    def close(self) -> None:
        self._pool.shutdown()
        for link in self._links.values():
            link.close()

    def _be_a_site(self, name: str) -> None:
        link = self._links[name]
        link.hello(name)
        link.next_jobs({}, 0.0)
        self.connected.release()
        while not (jobs := link.next_jobs({}, WAIT_SECONDS)):
            pass
        job_id = jobs[0].job_id
        link.report_site_state(job_id, SiteState.READY)
        while True:
            try:
                if link.next_task(job_id, name, wait_seconds=WAIT_SECONDS).task is not None:
                    break
            except LinkUnavailable as error:
                print(f"{name}: {error}", file=sys.stderr)
        self.given.release()


def measure(folder: Path, count: int, seconds: float) -> Row:
    names = [f"site-{number}" for number in range(1, count + 1)]
    kits = make_federation(folder / "kits", sites=names, operators=["operator"])
    command = [sys.executable, "-m", "federant", "server", str(folder / "server"), "--port", "0"]
    command += ["--kit", str(kits.server.folder), "--host", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None:
            raise SystemExit("the server did not start")
        url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
        meter = Meter(server.pid)
        before = meter.memory()
        sites = IdleSites(url, kits.sites)
        sites.wait(sites.connected)
        time.sleep(2.0)  # what shaking hands needed is given back
        memory, processor = meter.memory(), meter.processor()
        time.sleep(seconds)
        idle = meter.processor() - processor
        with connect(url, kit=kits.operators["operator"].folder) as federation:
            began = time.perf_counter()
            federation.submit(
                trainer="bench",
                sites=names,
                initial_model={"w": np.zeros(1000)},
                min_sites=count,
            )
            sites.wait(sites.given)
            given = time.perf_counter() - began
        sites.close()
        server.terminate()
    return {
        "idle sites": count,
        "server MB": round(memory / KB),
        "KB a site": round((memory - before) / count),
        "CPU ms a site and s": round(1000 * idle / seconds / count, 4),
        "% of a core in all": round(100 * idle / seconds, 2),
        "s until all had a task": round(given, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=30.0)
    add_options(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="federant-bench-") as folder:
        report([measure(Path(folder), args.sites, args.seconds)], args.json)


if __name__ == "__main__":
    main()
