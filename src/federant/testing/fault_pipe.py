"""FaultPipe: a pipe that loses, doubles or holds back the messages that a test chooses."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from federant.pipe import Message, Pipe

Chooser: TypeAlias = Callable[[Message], bool]


class _Fault(Enum):
    DROP = auto()
    DUPLICATE = auto()
    HOLD = auto()


@dataclass(slots=True)
class _Plan:
    fault: _Fault
    chooser: Chooser
    times: int


class FaultPipe(Pipe):
    """Wraps one end of a pipe; faults befall what is sent through it, in the order of their plans.

    It is deterministic: a fault befalls the next `times` messages that its chooser says yes to.
    """

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe.mode)
        self._pipe = pipe
        self._lock = threading.Lock()
        self._plans: list[_Plan] = []
        self._held: list[Message] = []
        self.hit: list[Message] = []
        """The messages that a fault befell, in order."""

    def drop(self, chooser: Chooser, times: int = 1) -> None:
        """They get lost: send says at once that they were not read (timeout 0: handed over)."""
        self._plan(_Fault.DROP, chooser, times)

    def duplicate(self, chooser: Chooser, times: int = 1) -> None:
        """They arrive twice."""
        self._plan(_Fault.DUPLICATE, chooser, times)

    def hold(self, chooser: Chooser, times: int = 1) -> None:
        """They are as lost, until release lets them arrive late."""
        self._plan(_Fault.HOLD, chooser, times)

    def release(self) -> None:
        """Lets all that is held back go, in the order in which it was sent; does not wait."""
        with self._lock:
            held, self._held = self._held, []
        for msg in held:
            self._pipe.send(msg, timeout=0)

    def send(self, msg: Message, timeout: float | None = None) -> bool:
        fault = self._fault_of(msg)
        if fault is None:
            return self._pipe.send(msg, timeout)
        if fault is _Fault.DUPLICATE:
            self._pipe.send(msg, timeout=0)
            return self._pipe.send(msg, timeout)
        return timeout == 0

    def open(self, name: str) -> None:
        self._pipe.open(name)

    def clear(self) -> None:
        self._pipe.clear()

    def receive(self, timeout: float | None = None) -> Message | None:
        return self._pipe.receive(timeout)

    def close(self) -> None:
        self._pipe.close()

    def can_resend(self) -> bool:
        return self._pipe.can_resend()

    def can_wake(self) -> bool:
        return self._pipe.can_wake()

    def can_answer(self) -> bool:
        return self._pipe.can_answer()

    def wake(self) -> None:
        self._pipe.wake()

    def get_last_peer_active_time(self) -> float:
        return self._pipe.get_last_peer_active_time()

    def export(self, export_mode: str) -> tuple[str, dict[str, object]]:
        """What makes the wrapped pipe, without faults."""
        return self._pipe.export(export_mode)

    def _plan(self, fault: _Fault, chooser: Chooser, times: int) -> None:
        with self._lock:
            self._plans.append(_Plan(fault, chooser, times))

    def _fault_of(self, msg: Message) -> _Fault | None:
        with self._lock:
            for plan in self._plans:
                if plan.times > 0 and plan.chooser(msg):
                    plan.times -= 1
                    self.hit.append(msg)
                    if plan.fault is _Fault.HOLD:
                        self._held.append(msg)
                    return plan.fault
        return None
