"""What is wrong with a booster, as a return code and a sentence."""

from __future__ import annotations

from federant.exchange import ReturnCode


class BadBoosterError(ValueError):
    """A booster that cannot be read or does not fit; ``rc`` is one of ``ReturnCode.RESULT_*``."""

    def __init__(self, text: str, rc: str = ReturnCode.RESULT_UNREADABLE) -> None:
        super().__init__(text)
        self.rc = rc
