"""The keys of a dict and the members of a set, where somebody else has chosen their hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from federant.codec.errors import FrameError

_MOST_OF_ONE_HASH = 256


def check_hashes(items: Sequence[Any], container: str, item: str) -> None:
    """FrameError unless the items can be hashed and their hashes differ enough.

    Whoever chooses items of one hash makes a dict or set of them take hours; those of str and
    bytes cannot be chosen.
    """
    try:
        hashes = Counter(map(hash, items))
    except TypeError as error:
        problem = f"a {container} with a {item} that is none: {error}"
        raise FrameError(f"the value has {problem}") from error
    if max(hashes.values(), default=0) > _MOST_OF_ONE_HASH:
        raise FrameError(f"the value has a {container} with very many {item}s of the same hash")


@contextmanager
def comparing(container: str, item: str) -> Iterator[None]:
    """FrameError where items of the same hash cannot be compared: records with other fields."""
    try:
        yield
    except TypeError as error:
        raise FrameError(f"the value has a {container} with a {item} too many: {error}") from error
