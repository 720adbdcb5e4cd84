"""CellPipe passes the contract of every pipe, with cells and peers in other processes."""

import contextlib
import time
import uuid
from collections.abc import Callable

import pytest

from federant.link.identity import Identity, Role
from federant.link.kit import Kit
from federant.pipe import CellPipe, Mode, PeerGoneError, Pipe
from federant.provision import FederationKits
from federant.testing import PipeContract
from federant.testing.two_ends import LONG, SHORT


class TestCellPipe(PipeContract):
    crosses_processes = True

    @pytest.fixture
    def make_pipe(self, plain_relay: str) -> Callable[[Mode], Pipe]:
        token = f"agent-{uuid.uuid4().hex[:8]}"
        return lambda mode: CellPipe(mode, "site-1", token, plain_relay, secure_mode=False)

    def hear_of_death(self, pipe: Pipe) -> None:
        """News of a death comes by way of the relay: an agent has it once its peer is gone."""
        super().hear_of_death(pipe)
        assert isinstance(pipe, CellPipe)
        deadline = time.monotonic() + LONG
        while pipe.mode is Mode.ACTIVE and pipe.peer is not None:
            assert time.monotonic() < deadline
            with contextlib.suppress(PeerGoneError):
                pipe.receive(SHORT)


class TestSealedCellPipe(TestCellPipe):
    """The same over the server's relay, by mutual TLS from end to end."""

    @pytest.fixture
    def make_pipe(
        self,
        server_relay: str,
        kits: FederationKits,
        odd: Callable[..., Kit],
        monkeypatch: pytest.MonkeyPatch,
    ) -> Callable[[Mode], Pipe]:
        token = f"agent-{uuid.uuid4().hex[:8]}"
        federation = kits.server.identity.federation
        agent = odd(Identity(federation, Role.AGENT, token, "site-1"))
        kit_of = {Mode.ACTIVE: agent, Mode.PASSIVE: kits.sites["site-1"]}

        export = CellPipe.export

        def with_the_other_s_kit(pipe: CellPipe, export_mode: str) -> tuple[str, dict[str, object]]:
            name, arguments = export(pipe, export_mode)
            folder = kit_of[Mode(str(arguments["mode"]))].folder
            return name, {**arguments, "workspace_dir": str(folder)}

        monkeypatch.setattr(CellPipe, "export", with_the_other_s_kit)
        return lambda mode: CellPipe(
            mode, "site-1", token, server_relay, workspace_dir=str(kit_of[mode].folder)
        )
