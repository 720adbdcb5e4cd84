"""A large result of a trainer on a node, by its site's relay, on a line that is cut in the middle.

Site and node are hosts of their own, in network namespaces; the node's line has a rate (``tc
tbf``), and while it is cut nobody is told. With --move the node has another address from then on
instead. Counted is what was sent again. Needs root.

    python bench/chaos_cells.py [--mb 200] [--rate 20mbit] [--cut 60 | --move] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from chaos_rig import MB, cut, disturb
from federant.cellnet.admission import Admission
from federant.cellnet.relay import RelayThread
from federant.cellnet.tunnel import CHUNK_BYTES
from federant.link.kit import load_kit
from federant.pipe import CellPipe, Message, Mode, PeerGoneError
from federant.provision import make_federation
from federant.testing.network import Network, why_not
from report_rig import Row, add_options, report

SITE = "site-1"
AGENT = "gpu-7"
PORT = 8760
CHANNEL = "task"
ANOTHER_ADDRESS = "10.77.0.77"
PEER_SECONDS = 300.0


def be_the_site(kit: Path) -> None:
    """A relay, and the client job's end; prints the digest of what has come."""
    admission = Admission(SITE, load_kit(kit))
    relay = RelayThread(SITE, "0.0.0.0", PORT, admission, admission.context())  # noqa: S104
    pipe = CellPipe(
        Mode.PASSIVE,
        SITE,
        AGENT,
        f"https://127.0.0.1:{PORT}",
        workspace_dir=str(kit),
        peer_timeout=PEER_SECONDS,
    )
    pipe.open(CHANNEL)
    print("ready", flush=True)
    message = None
    while message is None:
        message = pipe.receive(PEER_SECONDS)
    print(hashlib.sha256(message.data).hexdigest(), flush=True)
    with suppress(PeerGoneError):
        pipe.receive(PEER_SECONDS)
    pipe.close()
    relay.stop()


def be_the_node(kit: Path, host: str, size: int) -> None:
    """An agent's end; prints the digest of what it has sent."""
    values = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    pipe = CellPipe(Mode.ACTIVE, SITE, AGENT, f"https://{host}:{PORT}", workspace_dir=str(kit))
    pipe.open(CHANNEL)
    assert pipe.send(Message.new_request("train", values))
    pipe.close()
    print(hashlib.sha256(values).hexdigest())


def run(folder: Path, size: int, rate: str, cut_seconds: float) -> Row:
    """With no seconds the node moves."""
    with Network(["site", "node"]) as network:
        kits = make_federation(folder / "kits", sites=[SITE], agents=[(SITE, AGENT)])
        network.shape("node", rate)
        site_kit, agent_kit = kits.sites[SITE].folder, kits.agents[f"{SITE}.{AGENT}"].folder
        python = [sys.executable, __file__, "--be"]
        site_command = network.command("site", *python, "site", "--kit", str(site_kit))
        with subprocess.Popen(site_command, stdout=subprocess.PIPE, text=True) as site:
            if site.stdout is None or not site.stdout.readline():
                raise SystemExit("the site did not start")
            more = ["--kit", str(agent_kit), "--host", network.address("site")]
            node_command = network.command("node", *python, "node", *more, "--bytes", str(size))
            with subprocess.Popen(node_command, stdout=subprocess.PIPE, text=True) as node:

                def disturbance() -> None:
                    if cut_seconds:
                        cut(network, "node", cut_seconds)
                    else:
                        network.move("node", ANOTHER_ADDRESS)

                found = disturb(network, "node", size, node, disturbance)
                assert node.stdout is not None
                digest = node.stdout.readline()
            arrived = site.stdout.readline() == digest
        return {"arrived": arrived, **found, "chunk": CHUNK_BYTES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--rate", default="20mbit")
    parser.add_argument("--cut", type=float, default=60.0)
    parser.add_argument("--move", action="store_true")
    parser.add_argument("--be", choices=["site", "node"], help=argparse.SUPPRESS)
    parser.add_argument("--kit", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--host", help=argparse.SUPPRESS)
    parser.add_argument("--bytes", type=int, help=argparse.SUPPRESS)
    add_options(parser)
    args = parser.parse_args()
    if args.be == "site":
        be_the_site(args.kit)
        return
    if args.be == "node":
        be_the_node(args.kit, args.host, args.bytes)
        return
    if reason := why_not():
        print(f"not run: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="federant-bench-") as folder:
        said = run(Path(folder), args.mb * MB, args.rate, 0.0 if args.move else args.cut)
        report([said], args.json)


if __name__ == "__main__":
    main()
