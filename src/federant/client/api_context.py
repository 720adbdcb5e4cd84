"""What init() makes: which process of a script this is, and its place in the federation."""

from __future__ import annotations

from typing import Self

from federant.client.model_exchange import ModelExchange
from federant.client.talker import Talker, own_rank, talker_for

__all__ = ["APIContext"]


class APIContext:
    """Joins when it is made; as a context manager it leaves at the end.

    Args:
        rank: which of the script's processes this is (a str or an int, else ValueError); without
            it what the variable RANK says, else "0". Only rank "0" talks to the federation.
        config_file: the TOML file that ``federant.join`` takes.
        agent: who talks instead of the agent that ``federant.join`` would make.

    JoinError where nothing says which job to join.
    """

    def __init__(
        self,
        rank: str | int | None = None,
        config_file: str | None = None,
        *,
        agent: Talker | None = None,
    ) -> None:
        self.rank = own_rank(rank)
        self.config_file = config_file
        self.talker: Talker = talker_for(self.rank, config_file) if agent is None else agent
        """Who talks to the client job for this process."""
        self.api = ModelExchange(self.talker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.shutdown()
