"""How hypothesis runs here: the same on every machine, and without a folder of its own."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "codec",
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("codec")
