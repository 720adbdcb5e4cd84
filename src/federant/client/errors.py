"""What a trainer can meet that talks through an agent; errors of pipes and frames live elsewhere.

FlareAgentException
├── AgentClosed                 the agent is closed: by its own stop(), or by one of
│   ├── AgentAbortException     the client job aborted the work
│   ├── AgentEndException       the job has ended
│   └── AgentPeerGoneException  the client job is out of reach
├── CallStateError              the call is not allowed in the agent's present state
│   └── ApiCallError            nor is this one of federant.client's functions (also a RuntimeError)
├── DifferenceError             a model has no difference from the one received (a RuntimeError too)
└── JoinError                   join() does not know where to connect, or is not let in there
"""

from __future__ import annotations


class FlareAgentException(Exception):
    """Every error that an agent raises of its own."""


class AgentClosed(FlareAgentException):
    """The agent is closed and will hand out no more tasks."""


class AgentAbortException(AgentClosed):
    """The client job aborted the work."""


class AgentEndException(AgentClosed):
    """The job has ended; nothing is left to do."""


class AgentPeerGoneException(AgentClosed):
    """The client job is out of reach for this trainer, though the job has not ended.

    At once where it said goodbye or refused the trainer (a wrong token, another trainer on the
    channel, another protocol version); else when nothing was heard of it for heartbeat_timeout.
    """


class CallStateError(FlareAgentException):
    """The call is not allowed now: before start, without a task, or with one still held."""


class ApiCallError(CallStateError, RuntimeError):
    """A function of federant.client was called before or after its time; the text says what to do.

    A RuntimeError as well, which is what training scripts that catch anything catch.
    """


class DifferenceError(FlareAgentException, RuntimeError):
    """The task wants the difference from the model received, and the model sent has none."""


class JoinError(FlareAgentException):
    """Nothing says where this process should connect, or what says so is not right.

    Also where a relay is not reached, or does not let this process in.
    """
