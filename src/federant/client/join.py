"""A trainer's one line: an agent that is connected to the client job, or will be."""

from __future__ import annotations

import atexit
import os
from functools import partial
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack, overload

from federant.client.agent_kit import RELAY_SECONDS
from federant.client.errors import JoinError
from federant.client.flare_agent import FlareAgent
from federant.client.joined import remember
from federant.client.last_words import hear_crashes, leave_words
from federant.client.meeting_point import MeetingPoint, meeting_point
from federant.pipe import CellPipe, Pipe, PipeRefusedError

HEARTBEAT_INTERVAL = 5.0
"""Seconds between signs of life, unless the timeout asks for more of them."""

AnyAgent = TypeVar("AnyAgent", bound=FlareAgent)


class AgentOptions(TypedDict, total=False):
    """What join() passes on to the agent; FlareAgent says what each means."""

    pipe: Pipe | None
    read_interval: float
    heartbeat_interval: float
    heartbeat_timeout: float
    resend_interval: float | None
    max_resends: int | None
    submit_result_timeout: float
    metric_pipe: Pipe | None
    task_channel_name: str
    metric_channel_name: str
    close_pipe: bool
    close_metric_pipe: bool
    site_name: str
    job_id: str


@overload
def join(config: str | Path | None = None, **overrides: Unpack[AgentOptions]) -> FlareAgent: ...
@overload
def join(
    config: str | Path | None = None,
    *,
    agent_class: type[AnyAgent],
    **overrides: Unpack[AgentOptions],
) -> AnyAgent: ...
def join(
    config: str | Path | None = None,
    *,
    agent_class: type[FlareAgent] = FlareAgent,
    **overrides: Unpack[AgentOptions],
) -> FlareAgent:
    """Connects this process to the client job that started it, or that waits for it.

    Where to connect comes from ``config``, else from the environment that a client job sets for its
    trainer, else from what FEDERANT_JOIN names, else from the kit that FEDERANT_KIT names.
    ``config`` and FEDERANT_JOIN name one of

    - a TOML file with the keys pipe (a folder, taken from the file's own if relative), pipe_kind
      ("local", "file" or "nvflare-file"), token, site, job, heartbeat_timeout, spool_bytes; a
      folder in its place is one that holds it as join.toml;
    - the folder of an agent's startup kit, which says which site's relay to dial. Then the client
      job is waited for as long as it takes, at first and after a cut, unless
      FEDERANT_HEARTBEAT_TIMEOUT (seconds) says otherwise.

    An override takes the place of what they say: ``metric_pipe=None`` for an agent that logs
    nothing, say.

    Returns an agent that is started; nothing waits for the client job, which may come later. A
    relay is waited for RELAY_SECONDS at most. The agent stops when the interpreter exits, and an
    exception that ends the process is told to the client job. ``agent_class`` is a FlareAgent of
    your own, with other conversions say.

    Raises:
        JoinError: nothing says where to connect, what says so is not right, or the relay is not
            reached, or does not let this agent in.
        ValueError, TypeError: an override is out of range.
    """
    point = meeting_point(config, os.environ)
    options: AgentOptions = {"site_name": point.site, "job_id": point.job, **overrides}
    for name in ("pipe", "metric_pipe"):
        if name not in options:
            options[name] = point.new_pipe()
    if point.heartbeat_timeout is not None:
        options.setdefault("heartbeat_timeout", point.heartbeat_timeout)
    timeout = options.get("heartbeat_timeout", 0)
    if isinstance(timeout, int | float) and timeout > 0:
        # It may be shorter than the agent's usual interval.
        options.setdefault("heartbeat_interval", min(HEARTBEAT_INTERVAL, timeout / 3))
    agent = agent_class(**options)
    _start(agent, point, min(timeout or RELAY_SECONDS, RELAY_SECONDS))
    remember(agent)
    atexit.register(agent.stop)
    reports = [agent.report_crash]
    if point.pipe is not None:
        reports.insert(0, partial(leave_words, point.pipe))
    hear_crashes(*reports)
    return agent


def _start(agent: FlareAgent, point: MeetingPoint, seconds: float) -> None:
    """Starts it, and where it dials a relay waits until that has let it in."""
    if point.kit is None:
        agent.start()
        return
    try:
        agent.start()
        pipes = (agent.pipe, agent.metric_pipe)
        point.kit.reach_relay([pipe for pipe in pipes if isinstance(pipe, CellPipe)], seconds)
    except (ModuleNotFoundError, PipeRefusedError) as error:
        agent.stop()
        raise JoinError(f"{point.kit}: {error}") from error
    except JoinError:
        agent.stop()
        raise


def stand_by(config: str | Path | None, rank: str) -> MeetingPoint:
    """In a process that is not the one that talks: its crash too is told to the client job.

    Where that is on another machine nothing is told, and nothing is dialled. JoinError as from
    join().
    """
    point = meeting_point(config, os.environ)
    if point.pipe is not None:
        hear_crashes(partial(leave_words, point.pipe, rank=rank))
    return point
