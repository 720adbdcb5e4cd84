"""A network of network namespaces: hosts with addresses of their own on lines of a set rate.

A namespace lives as long as a process in it, and each of these reads a pipe whose other end only
the test's process holds: however that ends, nothing of the network is left.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from typing import Any, Self

HUB = "hub"
_NEEDED = ("ip", "tc", "unshare", "nsenter", "setpriv")
_LEASH = ("setpriv", "--pdeathsig", "TERM", "--")
_BURST = "32kb"
_LATENCY = "400ms"
_DIAL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), float(sys.argv[2])).close()
except ConnectionRefusedError:
    print("reached")
except OSError:
    pass
"""


def why_not() -> str:
    """Why this machine can have no such network; empty if it can."""
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    if missing:
        return f"network namespaces need {', '.join(missing)}"
    try:
        with Network() as network:
            network.run(HUB, "tc", "qdisc", "add", "dev", "lo", "root", *_shape("1mbit"))
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        return f"this machine forbids network namespaces, or has no tbf: {said}".strip()
    return ""


def _shape(rate: str) -> tuple[str, ...]:
    return ("tbf", "rate", rate, "burst", _BURST, "latency", _LATENCY)


class Network:
    """Hosts round a hub, each on its own line; several lists are networks apart from each other.

    Host number n of network k has the address 10.77.k.n there, counted from 1 and 0. A host knows
    no way to a network that it is not in. Where `net` is left out, it is the first one that the
    host is in.

        Network(["server", "site-1"], ["site-1", "node"])  # the node sees nobody but site-1
    """

    def __init__(self, *networks: list[str]) -> None:
        self._networks = networks
        self._stack = ExitStack()
        self._keepers: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        try:
            for name in (HUB, *dict.fromkeys(host for hosts in self._networks for host in hosts)):
                self._make(name)
            for net, hosts in enumerate(self._networks):
                self.run(HUB, "ip", "link", "add", f"br{net}", "type", "bridge")
                self.run(HUB, "ip", "link", "set", f"br{net}", "up")
                for name in hosts:
                    self._connect(name, net)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, name: str, net: int | None = None) -> str:
        net = self._net(name, net)
        return f"10.77.{net}.{self._networks[net].index(name) + 1}"

    def command(self, name: str, *command: str) -> list[str]:
        """The command that runs another on a host; it gets SIGTERM when who starts it dies."""
        pid = str(self._keepers[name].pid)
        return [*_LEASH, "nsenter", "--net", "--target", pid, "--", *command]

    def run(self, name: str, *command: str) -> str:
        """Run it on a host to its end; what it printed."""
        done = subprocess.run(
            self.command(name, *command), check=True, capture_output=True, text=True
        )
        return done.stdout

    def reaches(self, name: str, address: str, seconds: float = 30.0) -> bool:
        """Whether somebody answers a host at that address, be it that nobody listens there."""
        said = self.run(name, sys.executable, "-c", _DIAL, address, str(seconds))
        return said.strip() == "reached"

    def shape(self, name: str, rate: str, net: int | None = None) -> None:
        """Both ways of a host's line have that rate, as ``tc`` writes it: 20mbit."""
        net = self._net(name, net)
        for place, device in ((name, f"eth{net}"), (HUB, _line(name, net))):
            self.run(place, "tc", "qdisc", "replace", "dev", device, "root", *_shape(rate))

    def cut(self, name: str, net: int | None = None) -> None:
        """Nothing passes on the host's line, and neither end is told."""
        self.run(HUB, "ip", "link", "set", _line(name, self._net(name, net)), "nomaster")

    def mend(self, name: str, net: int | None = None) -> None:
        net = self._net(name, net)
        self.run(HUB, "ip", "link", "set", _line(name, net), "master", f"br{net}")

    def move(self, name: str, address: str, net: int | None = None) -> None:
        """The host has another address from now on, and its old one no more."""
        device = f"eth{self._net(name, net)}"
        self.run(name, "ip", "address", "flush", "dev", device)
        self.run(name, "ip", "address", "add", f"{address}/24", "dev", device)

    def sent(self, name: str, net: int | None = None) -> int:
        """How many bytes the host has put on its line, with all headers."""
        device = f"eth{self._net(name, net)}"
        said = json.loads(self.run(name, "ip", "-json", "-statistics", "link", "show", device))
        return int(said[0]["stats64"]["tx"]["bytes"])

    def _net(self, name: str, net: int | None) -> int:
        found = (at for at, hosts in enumerate(self._networks) if name in hosts)
        return next(found) if net is None else net

    def _make(self, name: str) -> None:
        keeper: subprocess.Popen[Any] = subprocess.Popen(
            [*_LEASH, *("unshare", "--net", "sh", "-c", "echo; exec cat")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stack.enter_context(keeper)  # closes its input, and waits
        if keeper.stdout is None or not keeper.stdout.readline():
            raise OSError(keeper.stderr.read() if keeper.stderr else "unshare did not start")
        self._keepers[name] = keeper
        self.run(name, "ip", "link", "set", "lo", "up")

    def _connect(self, name: str, net: int) -> None:
        pid = str(self._keepers[name].pid)
        line, device = _line(name, net), f"eth{net}"
        self.run(
            HUB,
            *("ip", "link", "add", line, "type", "veth", "peer", "name", device, "netns", pid),
        )
        self.run(HUB, "ip", "link", "set", line, "master", f"br{net}", "up")
        self.run(name, "ip", "address", "add", f"{self.address(name, net)}/24", "dev", device)
        self.run(name, "ip", "link", "set", device, "up")


def _line(name: str, net: int) -> str:
    """What the hub's end of a host's line is called."""
    return f"{name}-{net}"
