"""What is sent again after a cut is counted, and is one chunk at most; real cells, real sockets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from federant.cellnet.tunnel import CHUNK_BYTES
from federant.pipe import CellPipe, Message, Mode
from federant.provision import FederationKits
from federant.testing.fault_proxy import FaultProxy, Way
from federant.testing.two_ends import LONG, TASK, in_thread, pass_on, receive, request

NewPipe = Callable[..., CellPipe]

CUTS = 4
CUT_AFTER_BYTES = 1_500_000
OVERHEAD = 1.02
"""Of TLS, WebSocket and the tunnel, and what is said in each meeting."""


@pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.PASSIVE])
def test_a_cut_costs_one_chunk_at_most(
    new_cell_pipe: NewPipe, tls_relay: str, kits: FederationKits, mode: Mode
) -> None:
    port = int(tls_relay.rpartition(":")[2])
    with FaultProxy("127.0.0.1", port) as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        # The sender is behind the proxy, the receiver beside the relay.
        urls = {mode: url, mode.opposite: tls_relay}
        agent = new_cell_pipe(
            Mode.ACTIVE, urls[Mode.ACTIVE], kits.agents["site-1.gpu-7"], token="gpu-7"
        )
        job = new_cell_pipe(Mode.PASSIVE, urls[Mode.PASSIVE], kits.sites["site-1"], token="gpu-7")
        agent.open(TASK)
        job.open(TASK)
        pass_on(agent, job, request(1))
        sender, receiver = (agent, job) if mode is Mode.ACTIVE else (job, agent)
        values = np.arange(1_000_000.0)
        before = proxy.passed(Way.UP)
        proxy.delay(0.01)
        for _ in range(CUTS):
            proxy.cut_after(CUT_AFTER_BYTES)
        receiving = in_thread(receive, receiver)
        assert sender.send(Message.new_request("train", values), 2 * LONG) is True
        np.testing.assert_array_equal(receiving.result(LONG).data, values)

        cuts = proxy.accepted - 1  # on a busy machine there may be others too
        assert cuts >= CUTS
        assert 0 < sender.resent_bytes <= cuts * CHUNK_BYTES
        assert proxy.passed(Way.UP) - before < OVERHEAD * (values.nbytes + cuts * CHUNK_BYTES)
        agent.close()
        job.close()
