"""A network of network namespaces: hosts with addresses of their own on lines of a set rate.

A namespace lives as long as a process in it, and each of these reads a pipe whose other end only
the test's process holds: however that ends, nothing of the network is left.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import ExitStack
from typing import Any, Self

HUB = "hub"
_NEEDED = ("ip", "tc", "unshare", "nsenter", "setpriv")
_LEASH = ("setpriv", "--pdeathsig", "TERM", "--")
_BURST = "32kb"
_LATENCY = "400ms"


def why_not() -> str:
    """Why this machine can have no such network; empty if it can."""
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    if missing:
        return f"network namespaces need {', '.join(missing)}"
    try:
        with Network([]) as network:
            network.run(HUB, "tc", "qdisc", "add", "dev", "lo", "root", *_shape("1mbit"))
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        return f"this machine forbids network namespaces, or has no tbf: {said}".strip()
    return ""


def _shape(rate: str) -> tuple[str, ...]:
    return ("tbf", "rate", rate, "burst", _BURST, "latency", _LATENCY)


class Network:
    """Hosts round a hub, each on its own line; host number n has the address 10.77.0.n."""

    def __init__(self, hosts: list[str]) -> None:
        self._hosts = hosts
        self._stack = ExitStack()
        self._keepers: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        try:
            for name in (HUB, *self._hosts):
                self._make(name)
            self.run(HUB, "ip", "link", "add", "br0", "type", "bridge")
            self.run(HUB, "ip", "link", "set", "br0", "up")
            for name in self._hosts:
                self._connect(name)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def address(self, name: str) -> str:
        return f"10.77.0.{self._hosts.index(name) + 1}"

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

    def shape(self, name: str, rate: str) -> None:
        """Both ways of a host's line have that rate, as ``tc`` writes it: 20mbit."""
        for place, device in ((name, "eth0"), (HUB, name)):
            self.run(place, "tc", "qdisc", "replace", "dev", device, "root", *_shape(rate))

    def cut(self, name: str) -> None:
        """Nothing passes on the host's line, and neither end is told."""
        self.run(HUB, "ip", "link", "set", name, "nomaster")

    def mend(self, name: str) -> None:
        self.run(HUB, "ip", "link", "set", name, "master", "br0")

    def move(self, name: str, address: str) -> None:
        """The host has another address from now on, and its old one no more."""
        self.run(name, "ip", "address", "flush", "dev", "eth0")
        self.run(name, "ip", "address", "add", f"{address}/24", "dev", "eth0")

    def sent(self, name: str) -> int:
        """How many bytes the host has put on its line, with all headers."""
        said = json.loads(self.run(name, "ip", "-json", "-statistics", "link", "show", "eth0"))
        return int(said[0]["stats64"]["tx"]["bytes"])

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

    def _connect(self, name: str) -> None:
        pid = str(self._keepers[name].pid)
        self.run(
            HUB,
            *("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid),
        )
        self.run(HUB, "ip", "link", "set", name, "master", "br0", "up")
        self.run(name, "ip", "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        self.run(name, "ip", "link", "set", "eth0", "up")
