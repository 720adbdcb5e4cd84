"""Boosters of XGBoost as the server sees them: JSON text that it checks and joins, no library.

What a site sent is read within limits, and only what was understood is written again: no other
site's XGBoost, which reads such text in C++, ever sees it as it came.
"""

from federant.server.boosters.booster import NAME, Booster, BoosterShape, booster_of, read_booster
from federant.server.boosters.errors import BadBoosterError
from federant.server.boosters.frames import booster_in
from federant.server.boosters.joining import join
from federant.server.boosters.limits import MODEL_LIMITS, RESULT_LIMITS, BoosterLimits

__all__ = [
    "MODEL_LIMITS",
    "NAME",
    "RESULT_LIMITS",
    "BadBoosterError",
    "Booster",
    "BoosterLimits",
    "BoosterShape",
    "booster_in",
    "booster_of",
    "join",
    "read_booster",
]
