"""A bound on those who have come and not shown yet what they want, whoever they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Newcomers(Generic[_T]):
    """Of too many at once the oldest has to go, which takes much longer than it should.

    So who begins many and ends none cannot take all descriptors of the process. Not thread-safe.
    """

    def __init__(self, most: int, drop: Callable[[_T], object]) -> None:
        """`drop(one)` sends that one away; it is not among them any more then."""
        self._most = most
        self._drop = drop
        self._there: dict[_T, None] = {}  # the oldest first

    def __iter__(self) -> Iterator[_T]:
        return iter(list(self._there))

    def add(self, one: _T) -> None:
        self._there[one] = None
        if len(self._there) > self._most:
            oldest = next(iter(self._there))
            del self._there[oldest]
            self._drop(oldest)

    def discard(self, one: _T) -> None:
        """It is known now, or gone; nothing happens to one that is not among them."""
        self._there.pop(one, None)
