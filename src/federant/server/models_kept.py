"""Which models of a job stay when only some are to be kept: the newest, and the best by any score.

Nobody tells a server whether more of a score is better, so the model with the least of it stays as
well as the one with the greatest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from federant.exchange import MetaKey
from federant.server.state import ModelRow
from federant.server.workflow.scores import scores_in

_OF_THE_ROUND_BEFORE: Final = f"{MetaKey.INITIAL_METRICS}/"
"""What a round's sites say of the model that they were sent."""
_NO_SCORES: Final = frozenset({"sites", "weight"})
"""How much went into a model, which our own workflows keep with it."""


def superfluous_rounds(models: Sequence[ModelRow], most: int) -> list[int]:
    """The rounds whose models may go, of a job's models in the order of their rounds.

    The ``most`` newest stay, and beside them those with the least and the greatest of each score.
    """
    if len(models) <= most:
        return []
    stay = {model.round for model in models[-most:]}
    for scores in _scores_by_name(models).values():
        least, greatest = min(scores.values()), max(scores.values())
        if least != greatest:  # of one that is always the same none is the best
            stay.add(max(number for number, value in scores.items() if value == least))
            stay.add(max(number for number, value in scores.items() if value == greatest))
    return [model.round for model in models if model.round not in stay]


def _scores_by_name(models: Sequence[ModelRow]) -> dict[str, dict[int, float]]:
    """The values of each score, by the round whose model it is of."""
    found: dict[str, dict[int, float]] = {}
    before: int | None = None
    for model in models:
        for name, value in scores_in(dict(model.metrics)).items():
            of = before if name.startswith(_OF_THE_ROUND_BEFORE) else model.round
            if of is not None and name not in _NO_SCORES:
                found.setdefault(name, {})[of] = value
        before = model.round
    return found
