"""What pipes and handlers ask of the numbers that they are given."""

import math


def check_number(
    name: str, value: float, *, above: float | None = None, least: float | None = None
) -> None:
    """TypeError unless it is an int or a float, ValueError unless it is finite and large enough."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    allowed = f"above {above:g}" if above is not None else f"at least {least or 0:g}"
    good = value > above if above is not None else value >= (least or 0)
    if not good or not math.isfinite(value):
        raise ValueError(f"{name} must be {allowed} and finite, got {value}")
