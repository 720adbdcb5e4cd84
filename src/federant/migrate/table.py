"""Which of our modules has a name of nvflare's, or why none has: table.toml, as objects."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

ROOT = "nvflare"
"""The package whose modules are looked up."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of theirs that has a counterpart."""

    name: str
    to: str
    """Our module."""
    names: frozenset[str]
    """The names of theirs that our module has, too."""
    elsewhere: dict[str, str]
    """By name: the other module of ours that has it."""

    def target(self, name: str) -> str | None:
        """The module of ours that has the name; None if none has."""
        return self.to if name in self.names else self.elsewhere.get(name)


class Table:
    """Everything that is known of the model system's names."""

    def __init__(
        self, modules: dict[str, Module], none: dict[str, str], notes: dict[str, str]
    ) -> None:
        self.modules = modules
        self.notes = notes
        """By "module:name" of theirs that has a counterpart: what else is to be done."""
        self._none = none

    def module(self, name: str) -> Module | None:
        """Their module of exactly that name, if it has a counterpart."""
        return self.modules.get(name)

    def advice(self, module: str, name: str = "") -> str:
        """Why a name of theirs, or the whole module, has no counterpart, and what to do instead."""
        keys = [f"{module}:{name}", f"{module}.{name}"] if name else []
        while module:
            keys.append(module)
            module = module.rpartition(".")[0]
        return next(self._none[key] for key in keys if key in self._none)

    def targets(self) -> Iterator[tuple[str, str]]:
        """Every name that is imported from one of our modules after a move: module, name."""
        for module in self.modules.values():
            for name in sorted(module.names):
                yield module.to, name
            for name, target in module.elsewhere.items():
                yield target, name

    def without_counterpart(self) -> Iterator[tuple[str, str]]:
        """Every line of what has none: module, name (empty: the whole module)."""
        for key in self._none:
            module, _, name = key.partition(":")
            yield module, name


@cache
def load_table() -> Table:
    """The table that comes with federant."""
    raw = tomllib.loads(files("federant.migrate").joinpath("table.toml").read_text("utf-8"))
    modules = {
        name: Module(
            name,
            entry["to"],
            frozenset(entry["names"]),
            {
                moved: target
                for target, _, moved in (item.partition(":") for item in entry.get("elsewhere", ()))
            },
        )
        for name, entry in raw["moved"].items()
    }
    return Table(modules, raw["none"], raw["notes"])
