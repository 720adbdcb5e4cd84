"""Where one end of a LocalPipe's channel lies, and what it is called in messages."""

from pathlib import Path

from federant.pipe.base import Mode


class Place:
    """One end of a channel; the channel is known once the pipe is opened."""

    __slots__ = ("channel", "mode", "root")

    def __init__(self, root: Path, mode: Mode) -> None:
        self.root = root
        self.mode = mode
        self.channel = ""

    @property
    def socket(self) -> Path:
        return self.root / f"{self.channel}.sock"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    def __str__(self) -> str:
        return f"local pipe {self.root} channel={self.channel!r} mode={self.mode}"
