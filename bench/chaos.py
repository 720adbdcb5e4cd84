"""A large result on a slow line that is cut in the middle: what was sent again, and the time.

Server and site are processes on hosts of their own, in network namespaces; the line has a rate
(``tc tbf``), and while it is cut nobody is told. Needs root.

    python bench/chaos.py [--mb 200] [--rate 20mbit] [--cut 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from chaos_rig import MB, cut, disturb
from federant.link import LinkClient, LinkUnavailable, blob_ref
from federant.link.http import CHUNK_BYTES
from federant.link.kit import Kit, load_kit
from federant.provision import make_federation
from federant.testing.network import Network, why_not
from report_rig import Row, add_options, report

SITE = "site-1"
PORT = 8750
PAUSE_SECONDS = 0.2


def be_a_site(kit: Kit, size: int) -> None:
    """Send the blob until it is there; prints its digest, and how many calls failed on the way."""
    block = random.Random(0).randbytes(CHUNK_BYTES)
    chunks = [block[: min(CHUNK_BYTES, size - at)] for at in range(0, size, CHUNK_BYTES)]
    blob = blob_ref(chunks)

    def rest(offset: int) -> list[bytes]:
        number, within = divmod(offset, CHUNK_BYTES)
        return [chunks[number][within:], *chunks[number + 1 :]] if number < len(chunks) else []

    failed = 0
    with LinkClient(kit.server, SITE, kit=kit) as link:
        while True:
            try:
                link.put_blob(blob, rest)
            except LinkUnavailable:
                failed += 1
                time.sleep(PAUSE_SECONDS)
            else:
                break
    print(json.dumps({"digest": blob.digest, "failed": failed}))


def run(folder: Path, size: int, rate: str, cut_seconds: float) -> Row:
    with Network(["server", SITE]) as network:
        host = network.address("server")
        kits = make_federation(folder / "kits", host=host, port=PORT, hosts=[host], sites=[SITE])
        network.shape(SITE, rate)
        python = [sys.executable, "-m", "federant", "server", str(folder / "server")]
        options = ["--kit", str(kits.server.folder), "--host", host, "--port", str(PORT)]
        site_command = [sys.executable, __file__, "--be-a-site", str(kits.sites[SITE].folder)]
        with subprocess.Popen(
            network.command("server", *python, *options), stdout=subprocess.PIPE, text=True
        ) as server:
            if server.stdout is None or not server.stdout.readline():
                raise SystemExit("the server did not start")
            with subprocess.Popen(
                network.command(SITE, *site_command, "--bytes", str(size)),
                stdout=subprocess.PIPE,
                text=True,
            ) as site:
                found = disturb(network, SITE, size, site, lambda: cut(network, SITE, cut_seconds))
                assert site.stdout is not None
                said = json.loads(site.stdout.read())
            server.terminate()
        (there,) = (folder / "server").rglob(said["digest"])
        return {
            "arrived": there.stat().st_size == size,
            "failed_calls": said["failed"],
            **found,
            "chunk": CHUNK_BYTES,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--rate", default="20mbit")
    parser.add_argument("--cut", type=float, default=60.0)
    parser.add_argument("--be-a-site", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--bytes", type=int, help=argparse.SUPPRESS)
    add_options(parser)
    args = parser.parse_args()
    if args.be_a_site:
        be_a_site(load_kit(args.be_a_site), args.bytes)
        return
    if reason := why_not():
        print(f"not run: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="federant-bench-") as folder:
        report([run(Path(folder), args.mb * MB, args.rate, args.cut)], args.json)


if __name__ == "__main__":
    main()
