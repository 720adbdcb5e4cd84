"""How large a booster may be, checked before memory is taken for what it claims."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class BoosterLimits:
    """Bounds for one text; a model that has grown over the rounds has larger ones than a result."""

    text_bytes: int = 16 * 1024 * 1024
    """Length of the text. Reading it takes up to ten times that in memory."""
    parts: int = 500_000
    """Lists and objects in it; a tree has fifteen."""
    texts: int = 2_000_000
    """Names and other texts in it; a tree has twenty-four."""
    depth: int = 512
    """Splits from a tree's root to a leaf: XGBoost goes down some ways by recursion."""
    features: int = 1 << 20
    """Features that the trees may split on."""
    groups: int = 10_000
    """Classes, or targets."""


RESULT_LIMITS: Final = BoosterLimits()
"""For the trees that one site has grown in one round."""

MODEL_LIMITS: Final = BoosterLimits(
    text_bytes=512 * 1024 * 1024, parts=20_000_000, texts=80_000_000
)
"""For the global model, all of whose trees have been checked as they came."""
