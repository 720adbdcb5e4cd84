"""The walk over an envelope that a receiver makes: msgpack's values become the body again.

What each extension code becomes is in `federant.codec.kinds`. Nothing here trusts its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from federant.codec.errors import FrameError
from federant.codec.limits import Limits

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
"""Types that need no look inside."""


class Mark(NamedTuple):
    """Says what the list that begins with it is."""

    code: int


class Reference(NamedTuple):
    """Stands where a tensor belongs."""

    code: int
    name: str
    dtype: str = ""
    """Our name of its dtype, if safetensors has none."""
    record: np.dtype[Any] | None = None
    """Its dtype, if that has named fields."""


Build = Callable[["Reader", list[Any], int], object]
"""Turns the rest of a marked list, found at a depth, into a value."""


class Reader:
    """One walk; `resolve` gives the value for a reference to a tensor."""

    def __init__(
        self,
        limits: Limits,
        builds: dict[int, Build],
        leaf_types: tuple[type, ...],
        resolve: Callable[[Reference], object],
    ) -> None:
        self._limits = limits
        self._builds = builds
        self._leaf_types = leaf_types
        self._resolve = resolve

    def value(self, raw: object, depth: int) -> Any:
        """The value for what msgpack unpacked at this depth."""
        kind = type(raw)
        if kind in ATOMS:
            return raw
        if isinstance(raw, dict):
            return self.mapping(raw, depth)
        if isinstance(raw, list):
            if raw and type(raw[0]) is Mark:
                build = self._builds.get(raw[0].code)
                if build is None:
                    raise FrameError(f"the envelope marks a list with code {raw[0].code}")
                self._check_depth(depth)
                return build(self, raw[1:], depth)
            return self.sequence(raw, depth)
        if isinstance(raw, Reference):
            return self.tensor(raw)
        if isinstance(raw, self._leaf_types):
            return raw
        raise FrameError(f"the envelope has a {kind.__name__} where a value must stand")

    def tensor(self, reference: Reference) -> object:
        """The value for a reference to a tensor."""
        return self._resolve(reference)

    def mapping(self, raw: object, depth: int) -> dict[Any, Any]:
        """A dict; msgpack has seen to it that its keys are str or bytes."""
        self._check_depth(depth)
        if not isinstance(raw, dict):
            raise FrameError(f"the envelope has a {type(raw).__name__} where a dict must stand")
        return {key: self.value(value, depth + 1) for key, value in raw.items()}

    def sequence(self, raw: list[Any], depth: int) -> list[Any]:
        """A list of values."""
        self._check_depth(depth)
        if ATOMS.issuperset(map(type, raw)):
            return raw
        return [self.value(item, depth + 1) for item in raw]

    def _check_depth(self, depth: int) -> None:
        if depth >= self._limits.depth:
            raise FrameError(f"the envelope nests deeper than {self._limits.depth} levels")
