"""How hypothesis runs here: as in the tests of the codec itself."""

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
