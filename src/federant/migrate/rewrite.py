"""One file's imports rewritten, with all else of its text as it was; reads and writes no files.

Imports may stand anywhere: in functions, under conditions, behind semicolons. What is used through
a dotted name, ``nvflare.client.init()``, is rewritten too; what is used through another name of a
module is looked at, so that it can be said what is not there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import libcst as cst
from libcst.helpers import get_full_name_for_node
from libcst.metadata import (
    MetadataWrapper,
    PositionProvider,
    QualifiedNameProvider,
    QualifiedNameSource,
)

from federant.migrate.table import ROOT, Table

_PRAGMA = re.compile(r"#\s*(noqa|type:|pylint:|isort:|pyright:|ruff:)")
"""A comment to a tool, which is meant for every import that a line is split into."""


_IMPORT = re.compile(rb"(?:\b(?:from|import)|,)[\s\\]*" + ROOT.encode() + rb"\b")


class UnreadableSourceError(Exception):
    """The text is no Python that can be read."""


@dataclass(frozen=True, slots=True, order=True)
class Left:
    """A name that could not be moved."""

    line: int
    name: str
    """As their module and the name in it: ``nvflare.apis.executor:Executor``."""
    advice: str
    used_in: tuple[int, ...] = ()
    """The lines in which it is used."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file's new text, and what is still to be done by hand."""

    source: bytes
    moved: int
    """How many imports, and uses by a dotted name, were changed."""
    left: tuple[Left, ...]
    stars: tuple[int, ...]
    """Lines of ``import *`` from a module of theirs: what is used of it cannot be seen."""
    notes: tuple[Left, ...] = ()
    """What was moved, and needs something to be set elsewhere."""


def may_import(source: bytes) -> bool:
    """Whether there may be an import of theirs in it; a look at the text, which takes no time."""
    return _IMPORT.search(source) is not None


def rewrite(source: bytes, table: Table) -> Rewritten:
    """The source with its imports moved; UnreadableSourceError if it is no Python that we read."""
    try:
        return _rewritten(source, table)
    except RecursionError as error:
        raise UnreadableSourceError("an expression in it nests too deep") from error


def _rewritten(source: bytes, table: Table) -> Rewritten:
    try:
        module = cst.parse_module(source)
    except (cst.ParserSyntaxError, UnicodeDecodeError, SyntaxError, LookupError) as error:
        raise UnreadableSourceError(_reason(error)) from error
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    uses = _Uses()
    wrapper.visit(uses)
    mover = _Mover(table, uses)
    moved = wrapper.visit(mover)
    left = mover.left + mover.wrong_uses()
    return Rewritten(
        moved.bytes if mover.moved else source,
        mover.moved,
        tuple(sorted(left)),
        tuple(mover.stars),
        tuple(_notes(uses, table)),
    )


def _notes(uses: _Uses, table: Table) -> Iterator[Left]:
    for name, advice in table.notes.items():
        lines = sorted(set(uses.lines.get(name.replace(":", "."), ())))
        if lines:
            yield Left(lines[0], name, advice, tuple(lines))


class _Uses(cst.CSTVisitor):
    """Where names that were imported from ROOT are used, by their full names."""

    METADATA_DEPENDENCIES = (PositionProvider, QualifiedNameProvider)

    def __init__(self) -> None:
        super().__init__()
        self.lines: defaultdict[str, list[int]] = defaultdict(list)
        self.attributes: list[tuple[cst.Attribute, str, str, int]] = []
        """Node, as it is written, its full name, line; of the longest dotted names only."""

    def visit_Import(self, node: cst.Import) -> bool:
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        return False

    def visit_Name(self, node: cst.Name) -> None:
        if (full := self._full(node)) is not None:
            self.lines[full].append(self._line(node))

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        full, written = self._full(node), get_full_name_for_node(node)
        if full is None or written is None or not _is_dotted(node):
            return True
        line = self._line(node)
        self.attributes.append((node, written, full, line))
        self.lines[full].append(line)
        base: cst.BaseExpression = node.value
        while isinstance(base, cst.Attribute):
            if (inner := self._full(base)) is not None:
                self.lines[inner].append(line)
            base = base.value
        if (inner := self._full(base)) is not None:
            self.lines[inner].append(line)
        return False

    def _full(self, node: cst.CSTNode) -> str | None:
        found = self.get_metadata(QualifiedNameProvider, node, ())
        for name in found or ():
            if name.source is QualifiedNameSource.IMPORT and _is_theirs(name.name):
                return str(name.name)
        return None

    def _line(self, node: cst.CSTNode) -> int:
        return int(self.get_metadata(PositionProvider, node).start.line)


class _Mover(cst.CSTTransformer):
    """Rewrites imports and dotted uses."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, table: Table, uses: _Uses) -> None:
        super().__init__()
        self.moved = 0
        self.left: list[Left] = []
        self.stars: list[int] = []
        self._table = table
        self._uses = uses
        self._aliases: dict[str, str] = {}
        """Names in the file that stand for a module of theirs."""
        self._plain: set[str] = set()
        """Modules of theirs that were imported without another name."""
        self._splits: dict[cst.CSTNode, list[cst.ImportFrom]] = {}
        self._dotted: dict[cst.CSTNode, str] = {}

    # -- before the text is gone through: dotted uses depend on imports that may come later --------

    def visit_Module(self, node: cst.Module) -> None:
        imports = _Imports()
        node.visit(imports)
        for name in imports.plain:
            if self._table.module(name) is not None:
                self._plain.add(name)
        for attribute, written, full, line in self._uses.attributes:
            if written != full:
                continue  # by an alias: what that stands for is rewritten, not this
            module = self._longest(full)
            if module is None or not any(
                module == name or module.startswith(f"{name}.") for name in self._plain
            ):
                continue
            found = self._table.modules[module]
            name = full.removeprefix(module).lstrip(".").partition(".")[0]
            if name and found.target(name) != found.to:
                self._leave(line, module, name)
            self._dotted[_prefix(attribute, module)] = found.to

    # -- imports -----------------------------------------------------------------------------------

    def leave_Import(self, original_node: cst.Import, updated_node: cst.Import) -> cst.Import:
        names = list(updated_node.names)
        for number, alias in enumerate(names):
            name = get_full_name_for_node(alias.name) or ""
            if not _is_theirs(name):
                continue
            module = self._table.module(name)
            bound = alias.evaluated_alias
            if module is None:
                lines = self._uses.lines.get(name, ())
                self._leave(self._line(original_node), name, "", lines)
                continue
            if bound is not None:
                self._aliases[bound] = name
            names[number] = alias.with_changes(name=_dotted_name(module.to))
            self.moved += 1
        return updated_node.with_changes(names=names)

    def leave_ImportFrom(
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom:
        if updated_node.relative or updated_node.module is None:
            return updated_node
        name = get_full_name_for_node(updated_node.module) or ""
        if not _is_theirs(name):
            return updated_node
        if isinstance(updated_node.names, cst.ImportStar):
            return self._star(name, self._line(original_node), updated_node)
        groups: defaultdict[str, list[cst.ImportAlias]] = defaultdict(list)
        for alias in updated_node.names:
            target, moved = self._move(name, alias, self._line(original_node))
            groups[target].append(moved)
        if list(groups) == [name]:
            return updated_node
        self.moved += 1
        if len(groups) == 1 and all(
            before is after
            for before, after in zip(updated_node.names, *groups.values(), strict=True)
        ):
            return updated_node.with_changes(module=_dotted_name(next(iter(groups))))
        self._splits[original_node] = parts = [
            updated_node.with_changes(
                module=_dotted_name(target), names=_in_a_row(updated_node, aliases)
            )
            for target, aliases in groups.items()
        ]
        return parts[0]

    def _star(self, name: str, line: int, node: cst.ImportFrom) -> cst.ImportFrom:
        module = self._table.module(name)
        if module is None:
            self._leave(line, name, "*")
            return node
        self.moved += 1
        self.stars.append(line)
        return node.with_changes(module=_dotted_name(module.to))

    def _move(self, module: str, alias: cst.ImportAlias, line: int) -> tuple[str, cst.ImportAlias]:
        """The module that the name is imported from now, and the alias; the old one if it stays."""
        name = str(alias.evaluated_name)
        found = self._table.module(module)
        target = None if found is None else found.target(name)
        if target is not None:
            return target, alias
        inner = self._table.module(f"{module}.{name}")
        if inner is None:
            lines = self._uses.lines.get(f"{module}.{name}", ())
            self._leave(line, module, name, lines)
            return module, alias
        self._aliases[alias.evaluated_alias or name] = inner.name
        parent, _, last = inner.to.rpartition(".")
        changes: dict[str, object] = {} if last == name else {"name": cst.Name(last)}
        if last != name and alias.asname is None:
            changes["asname"] = cst.AsName(cst.Name(name))
        return parent, alias.with_changes(**changes) if changes else alias

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine]:
        parts = self._splits.get(original_node.body[0])
        if parts is None or len(original_node.body) > 1:
            return updated_node.with_changes(body=self._flat(original_node, updated_node))
        comment = updated_node.trailing_whitespace.comment
        for_all = comment is not None and _PRAGMA.match(comment.value)
        bare = updated_node.trailing_whitespace.with_changes(
            comment=None, whitespace=cst.SimpleWhitespace("")
        )
        following = updated_node.with_changes(
            leading_lines=(),
            trailing_whitespace=updated_node.trailing_whitespace if for_all else bare,
        )
        lines = [updated_node.with_changes(body=[parts[0]])]
        lines += [following.with_changes(body=[part]) for part in parts[1:]]
        return cst.FlattenSentinel(lines)

    def leave_SimpleStatementSuite(
        self, original_node: cst.SimpleStatementSuite, updated_node: cst.SimpleStatementSuite
    ) -> cst.SimpleStatementSuite:
        return updated_node.with_changes(body=self._flat(original_node, updated_node))

    def _flat(
        self,
        original: cst.SimpleStatementLine | cst.SimpleStatementSuite,
        updated: cst.SimpleStatementLine | cst.SimpleStatementSuite,
    ) -> Sequence[cst.BaseSmallStatement]:
        """The statements of one line, with those that were split one behind the other."""
        if not any(statement in self._splits for statement in original.body):
            return updated.body
        flat: list[cst.BaseSmallStatement] = []
        for before, after in zip(original.body, updated.body, strict=True):
            *first, last = self._splits.get(before, [after])
            flat += [part.with_changes(semicolon=cst.MaybeSentinel.DEFAULT) for part in first]
            flat.append(last)
        return flat

    # -- uses --------------------------------------------------------------------------------------

    def leave_Attribute(
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.BaseExpression:
        to = self._dotted.get(original_node)
        if to is None:
            return updated_node
        self.moved += 1
        return cst.ensure_type(_dotted_name(to), cst.Attribute).with_changes(
            lpar=updated_node.lpar, rpar=updated_node.rpar
        )

    def wrong_uses(self) -> list[Left]:
        """What is used through the name of a module that has it no more."""
        found: dict[str, list[int]] = {}
        for _, written, full, line in self._uses.attributes:
            module = self._aliases.get(written.partition(".")[0])
            if module is None or not full.startswith(f"{module}."):
                continue
            ours = self._table.modules[module]
            name = full.removeprefix(f"{module}.").partition(".")[0]
            inner = self._table.module(f"{module}.{name}")
            as_before = inner is not None and inner.to == f"{ours.to}.{name}"
            if ours.target(name) != ours.to and not as_before:
                found.setdefault(f"{module}:{name}", []).append(line)
        return [
            Left(lines[0], name, self._advice(*name.split(":")), tuple(sorted(set(lines))))
            for name, lines in found.items()
        ]

    # -- small things ------------------------------------------------------------------------------

    def _leave(self, line: int, module: str, name: str, used_in: Sequence[int] = ()) -> None:
        full = f"{module}:{name}" if name else module
        lines = tuple(sorted(set(used_in)))
        self.left.append(Left(line, full, self._advice(module, name), lines))

    def _advice(self, module: str, name: str) -> str:
        found = self._table.module(module)
        target = None if found is None else found.target(name)
        if target is not None:
            return f"import it from {target}"
        return self._table.advice(module, "" if name == "*" else name)

    def _longest(self, full: str) -> str | None:
        """The longest module of theirs that begins the name and has a counterpart."""
        while full and self._table.module(full) is None:
            full = full.rpartition(".")[0]
        return full or None

    def _line(self, node: cst.CSTNode) -> int:
        return int(self.get_metadata(PositionProvider, node).start.line)


class _Imports(cst.CSTVisitor):
    """The modules that are imported without another name, wherever that stands."""

    def __init__(self) -> None:
        super().__init__()
        self.plain: set[str] = set()

    def visit_Import(self, node: cst.Import) -> bool:
        for alias in node.names:
            if alias.asname is None:
                self.plain.add(get_full_name_for_node(alias.name) or "")
        return False


def _is_theirs(name: str) -> bool:
    return name == ROOT or name.startswith(f"{ROOT}.")


def _is_dotted(node: cst.BaseExpression) -> bool:
    """Whether it is names and dots only: no call or index in between."""
    while isinstance(node, cst.Attribute):
        node = node.value
    return isinstance(node, cst.Name)


def _dotted_name(text: str) -> cst.Attribute | cst.Name:
    name = cst.parse_expression(text)
    assert isinstance(name, cst.Attribute | cst.Name)  # noqa: S101 - it is one of our own modules
    return name


def _prefix(node: cst.Attribute, module: str) -> cst.CSTNode:
    """The part of a dotted name that names the module."""
    part: cst.BaseExpression = node
    while isinstance(part, cst.Attribute) and get_full_name_for_node(part) != module:
        part = part.value
    return part


def _in_a_row(node: cst.ImportFrom, aliases: Sequence[cst.ImportAlias]) -> list[cst.ImportAlias]:
    """Names of one import, each but the last with a comma; comments between them stay."""
    *first, last = aliases
    row = [
        alias if isinstance(alias.comma, cst.Comma) else alias.with_changes(comma=_comma())
        for alias in first
    ]
    if node.lpar is None:
        last = last.with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return [*row, last]


def _comma() -> cst.Comma:
    return cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def _reason(error: Exception) -> str:
    if isinstance(error, cst.ParserSyntaxError):
        return f"line {error.raw_line}: {error.message}"
    return str(error)
