"""PeerProcess: a pipe's peer in a process of its own, which a test can kill; it runs peer."""

import json
import subprocess
import sys

from federant.pipe import Pipe


class PeerProcess:
    """A process that holds the other end of `pipe` on the channel, from the beginning on."""

    def __init__(self, pipe: Pipe, channel: str) -> None:
        made_by, arguments = pipe.export("PEER")
        order = json.dumps({"class": made_by, "arguments": arguments, "channel": channel})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "federant.testing.peer", order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect("open")

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, count: int) -> None:
        """Has it send so many messages; when it returns they are handed over.

        The ends must have met: let it echo a message first.
        """
        self._order(f"send {count}")
        self._expect("sent")

    def tell(self, count: int) -> None:
        """Has it send so many messages; when it returns they are read."""
        self._order(f"tell {count}")
        self._expect("told")

    def take(self, count: int) -> None:
        """Has it receive so many messages; does not wait for that."""
        self._order(f"take {count}")

    def echo(self, count: int) -> None:
        """Has it receive so many messages and send each back; does not wait for that."""
        self._order(f"echo {count}")

    def close(self) -> None:
        """Has it close its pipe; when it returns it is closed."""
        self._order("close")
        self._expect("closed")

    def kill(self) -> None:
        """SIGKILL, and waits until the process is gone."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Ends the process in any case, and frees what is held for it; may be called twice."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _order(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _expect(self, answer: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line == answer, f"the peer process said {line!r}, not {answer!r}"
