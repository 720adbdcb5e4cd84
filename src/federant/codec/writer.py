"""The walk over a body that a sender makes: tensors are set aside, the rest becomes msgpack.

What each kind of value becomes is in `federant.codec.kinds`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from federant.codec.dtypes import Form
from federant.codec.layout import MAX_DIMENSIONS, METADATA, Tensor
from federant.codec.limits import Limits

ATOMS = frozenset({type(None), bool, int, float})
"""Types that msgpack has and whose every value it takes; an int beyond 64 bits has a code."""

Write = Callable[["Writer", Any], object]
"""Turns a value of one kind into what msgpack takes, and gives its tensors to the writer."""


class Part(str):
    """A step of a path that is an attribute (`.data`), not a key (`['data']`)."""

    __slots__ = ()


class Writer:
    """One walk. `path` is where it is now: keys, indices and parts from the root."""

    def __init__(
        self,
        limits: Limits,
        writes: dict[type, Write],
        find_write: Callable[[object], Write | None],
        dropped_from_names: tuple[str, ...] = (),
    ) -> None:
        self.path: list[object] = []
        self.tensors: dict[str, Tensor] = {}
        self.inline = False
        """Whether long text stays in the header, so that whoever reads only that can read it."""
        self._limits = limits
        self._writes = writes
        self._find_write = find_write
        self._found: dict[type, Write] = {}
        self._dropped = dropped_from_names
        self._values = 4  # the list of version, envelope and body, and these

    def value(self, value: Any) -> object:
        """What msgpack takes for this value."""
        kind = type(value)
        if kind in ATOMS:
            return value
        write = self._writes.get(kind) or self._found.get(kind)
        if write is None:
            write = self._find_write(value)
            if write is None:
                raise self.refusal(
                    f"it is a {type_name(kind)}; what travels is None, bool, int, float, "
                    "complex, str, bytes, dates and times, arrays of numpy, torch and jax, "
                    "and dicts, lists, tuples and sets of these"
                )
            self._found[kind] = write
        return write(self, value)

    def at(self, step: object, value: Any) -> object:
        """The same for a value one step further down the path."""
        if type(value) in ATOMS:
            return value
        self.path.append(step)
        written = self.value(value)
        self.path.pop()
        return written

    def inlined(self, step: object, value: Any) -> object:
        """The same as `at`, with long text in the header."""
        before, self.inline = self.inline, True
        written = self.at(step, value)
        self.inline = before
        return written

    def enter(self, values: int) -> None:
        """Count the values in the container at this path; TypeError beyond the limits."""
        self._values += values
        if len(self.path) >= self._limits.depth:
            raise self.refusal(
                f"it nests deeper than {self._limits.depth} levels; does it contain itself?"
            )
        if self._values > self._limits.items:
            raise self.refusal(
                f"with it the body has more than {self._limits.items} values; "
                "put large collections of numbers into numpy arrays"
            )

    def set_aside(self, array: np.ndarray[Any, Any], form: Form) -> bytes:
        """Keep an array as a tensor of the frame; what a reference to it says."""
        if len(self.tensors) >= self._limits.tensors:
            raise self.refusal(f"a frame holds at most {self._limits.tensors} arrays")
        name = self._name()
        if form.view is not None:
            array = array.view(form.view)
        dtype, shape = form.name, array.shape
        if form.own:
            dtype, shape = "U8", (*shape, array.itemsize)
        if len(shape) > MAX_DIMENSIONS:
            most = MAX_DIMENSIONS - form.own
            raise self.refusal(f"it has {array.ndim} dimensions, at most {most} travel")
        self.tensors[name] = Tensor(array, form.written, dtype, shape)
        return f"{form.name}\0{name}".encode() if form.own else name.encode()

    def refusal(self, reason: str) -> TypeError:
        """The error for the value at this path."""
        return TypeError(f"{path_text(self.path)} cannot travel: {reason}")

    def _name(self) -> str:
        steps = self.path
        dropped = len(self._dropped)
        if len(steps) > dropped and tuple(steps[:dropped]) == self._dropped:
            steps = steps[dropped:]
        try:
            name = ".".join(map(str, steps)) or "value"
        except ValueError as error:
            raise self.refusal(
                "a key on its path has more digits than Python writes, and cannot be part of a "
                "tensor's name; use a text"
            ) from error
        if name not in self.tensors and name != METADATA:
            return name
        number = 2
        while f"{name}#{number}" in self.tensors:
            number += 1
        return f"{name}#{number}"


def type_name(kind: type) -> str:
    """A type's name with its module, but for Python's own types."""
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return module + kind.__qualname__


def path_text(path: list[object]) -> str:
    """A path as one would write it in Python: `data['layer1'][3]`."""
    if not path:
        return "the body"
    if isinstance(path[0], Part):
        text = ""
        if len(path) > 1 and isinstance(path[1], Part):
            path = path[1:]  # a DXO in a Shareable: its user knows it as data and meta
    else:
        text = "body"
    for step in path:
        text += f".{step}" if isinstance(step, Part) else f"[{key_text(step)}]"
    return text.removeprefix(".")


def key_text(key: object) -> str:
    """A key as Python writes it, or what it is where Python does not."""
    try:
        return repr(key)
    except ValueError:  # an int of more digits than Python writes, or one in a tuple
        return f"{type_name(type(key))} of very many digits"
