"""What tests of pipes, links and of their users need; public, for what is made elsewhere."""

from typing import TYPE_CHECKING, Any

from federant.testing.clock import FakeClock
from federant.testing.connect_proxy import ConnectProxy
from federant.testing.fault_pipe import FaultPipe
from federant.testing.fault_proxy import FaultProxy, Way
from federant.testing.peer_process import PeerProcess

if TYPE_CHECKING:
    from federant.testing.pipe_contract import PipeContract

__all__ = [
    "ConnectProxy",
    "FakeClock",
    "FaultPipe",
    "FaultProxy",
    "PeerProcess",
    "PipeContract",
    "Way",
]


def __getattr__(name: str) -> Any:
    # Not imported before it is asked for: it needs pytest, the others do not.
    if name == "PipeContract":
        from federant.testing.pipe_contract import PipeContract

        return PipeContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
