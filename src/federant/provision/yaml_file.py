"""Reads YAML that somebody else may have written: lists and keys of texts, each said once.

No value is guessed at: `no` and `1:30` are the texts that they look like.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from .errors import ProvisionError

MAX_BYTES: Final = 1 << 18
_MAX_DEPTH: Final = 20


def load_yaml(path: Path) -> Any:
    """The one document of a file; ProvisionError, which names the place, if it cannot be read.

    Refused are aliases, by which a few lines can stand for more than a memory holds, tags, by which
    a value can become anything, and keys that come twice, of which one would be forgotten.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ProvisionError(
            f"{path}: there is no such file; give the federation's YAML file"
        ) from None
    if len(content) > MAX_BYTES:
        raise ProvisionError(f"{path}: has more than {MAX_BYTES} bytes; is it the right file?")
    try:
        text = content.decode("utf-8")
        return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise ProvisionError(f"{path}: is no text in UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise ProvisionError(f"{path}{_where(error)}: {_what(error)}") from error


class _PlainLoader(yaml.SafeLoader):
    """One to which every value is a text, without aliases, tags and deep nesting."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - so the class above has it
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # types-PyYAML leaves it open
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(event, "has an alias (*name); write the value itself")
        if event.tag is not None:
            raise _refusal(event, f"has a tag ({event.tag}); write the value without it")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _refusal(event, f"is nested deeper than {_MAX_DEPTH}")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise ConstructorError(
                        None, None, f"has {key.value!r} twice; keep one of them", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refusal(event: Any, what: str) -> ComposerError:
    return ComposerError(None, None, what, event.start_mark)


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _what(error: yaml.YAMLError) -> str:
    return getattr(error, "problem", None) or str(error)
