"""A FlareAgent on another machine than its client job: how it makes its pipes, and nothing else."""

from __future__ import annotations

from federant.client.flare_agent import FlareAgent
from federant.pipe import CellPipe, Mode

__all__ = ["FlareAgentWithCellPipe"]


class FlareAgentWithCellPipe(FlareAgent):
    """As FlareAgent, on another machine than the client job: it makes its own pipes, over a relay.

    Args:
        agent_id: what this agent is called in the site's file; one lives at a time.
        site_name: the site that it works for.
        root_url: the address of the site's relay: https:// (wss://, grpc:// and tcp:// mean the
            same), or http:// on this machine and with secure_mode=False.
        secure_mode: TLS, with the agent's startup kit.
        workspace_dir: the folder of that kit; not used without secure_mode.
        has_metrics: whether it also logs metrics.

    The others are FlareAgent's. start() waits until the relay has let it in, but not for a relay
    that cannot be reached.

    Raises:
        PipeBusyError: by start(): another live agent has this agent_id; the text says who.
        PipeRefusedError: by start(): the kit is not the one for this agent, or no relay answers.
        TypeError, ValueError: a value is out of range; the message names it.
    """

    def __init__(
        self,
        agent_id: str,
        site_name: str,
        root_url: str,
        secure_mode: bool,
        workspace_dir: str,
        read_interval: float = 0.1,
        heartbeat_interval: float = 5.0,
        heartbeat_timeout: float = 30.0,
        resend_interval: float | None = 2.0,
        max_resends: int | None = None,
        submit_result_timeout: float = 30.0,
        has_metrics: bool = False,
    ) -> None:
        def new_pipe() -> CellPipe:
            return CellPipe(Mode.ACTIVE, site_name, agent_id, root_url, secure_mode, workspace_dir)

        super().__init__(
            new_pipe(),
            read_interval,
            heartbeat_interval,
            heartbeat_timeout,
            resend_interval,
            max_resends,
            submit_result_timeout,
            metric_pipe=new_pipe() if has_metrics else None,
            site_name=site_name,
        )
