import pytest

from federant.testing import FakeClock


def test_time_passes_only_when_told():
    clock = FakeClock(now=10.0)
    assert clock() == clock() == 10.0
    clock.advance(2.5)
    assert clock() == 12.5


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_time_does_not_go_back(seconds):
    with pytest.raises(ValueError, match="a clock goes forward"):
        FakeClock().advance(seconds)
