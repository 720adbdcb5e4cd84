"""What becomes of one file's text."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federant.migrate.rewrite import Rewritten, UnreadableSourceError, may_import, rewrite
from federant.migrate.table import load_table


def moved(source: str) -> Rewritten:
    return rewrite(textwrap.dedent(source).encode(), load_table())


def text(source: str) -> str:
    return moved(source).source.decode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import nvflare.client as flare", "import federant.client as flare"),
        ("import nvflare.client, os", "import federant.client, os"),
        ("from nvflare import client as flare", "from federant import client as flare"),
        (
            "from nvflare.client.flare_agent import FlareAgent, RC as Code",
            "from federant.client.flare_agent import FlareAgent, RC as Code",
        ),
        ("from nvflare.client import tracking", "from federant.client import tracking"),
        ("from nvflare.apis import dxo", "from federant import exchange as dxo"),
        ("from nvflare.apis import dxo as d", "from federant import exchange as d"),
        ("from nvflare.apis.dxo import *", "from federant.exchange import *"),
        (
            "from nvflare.client.lightning import patch, AnalyticsDataType",
            "from federant.client.lightning import patch\n"
            "from federant.client import AnalyticsDataType",
        ),
        (
            "from nvflare.apis.fl_constant import FLContextKey, ReturnCode  # noqa: F401",
            "from nvflare.apis.fl_constant import FLContextKey  # noqa: F401\n"
            "from federant.exchange import ReturnCode  # noqa: F401",
        ),
        (
            "if x: from nvflare.client.lightning import patch, AnalyticsDataType",
            "if x: from federant.client.lightning import patch; "
            "from federant.client import AnalyticsDataType",
        ),
        (
            "import os; from nvflare.client.lightning import patch, AnalyticsDataType; x = 1",
            "import os; from federant.client.lightning import patch; "
            "from federant.client import AnalyticsDataType; x = 1",
        ),
        (
            "import nvflare.client\nnvflare.client.init()",
            "import federant.client\nfederant.client.init()",
        ),
        (
            "def f(m: nvflare.apis.dxo.DXO): ...\nimport nvflare.apis.dxo",
            "def f(m: federant.exchange.DXO): ...\nimport federant.exchange",
        ),
    ],
)
def test_an_import_and_what_is_used_by_its_dotted_name_move(before: str, after: str) -> None:
    assert text(before) == after


def test_formatting_comments_and_strings_stay_as_they_are() -> None:
    source = """\
        '''nvflare.client is spoken of here.'''
        import nvflare.client as flare  # the client


        def train( x ):
            try:
                from nvflare.app_common.abstract.fl_model import (  # both
                    FLModel,  # the model
                    ParamsType,
                )
            except ImportError:
                FLModel = None
            name = "nvflare.client"   # a string
            return {'a':1, **x}
    """
    expected = textwrap.dedent(source)
    expected = expected.replace("import nvflare.client", "import federant.client")
    expected = expected.replace("nvflare.app_common.abstract.fl_model", "federant.exchange")
    assert text(source) == expected


def test_comments_between_names_stay_where_an_import_is_split() -> None:
    after = text(
        """\
        from nvflare.client.lightning import (
            patch,  # the trainer's
            # the rest
            AnalyticsDataType,  # once
            init,
        )
        """
    )
    assert "from federant.client.lightning import (\n    patch,  # the trainer's" in after
    assert "    # the rest\n" in after
    assert "from federant.client import (\n    AnalyticsDataType,  # once\n" in after
    compile(after, "split", "exec")


def test_windows_line_ends_and_another_encoding_are_kept() -> None:
    source = "# coding: latin-1\r\nimport nvflare.client as flare  # für alle\r\n"
    result = rewrite(source.encode("latin-1"), load_table())
    assert result.source == source.replace("nvflare", "federant").encode("latin-1")


def test_what_has_no_counterpart_stays_and_is_named_with_its_lines() -> None:
    result = moved(
        """\
        from nvflare.app_common.app_constant import ModelName
        import nvflare.client as flare
        from nvflare.apis.executor import Executor

        class Mine(Executor):
            best = ModelName.BEST_MODEL
            nothing = flare.nothing
        """
    )
    told = [(left.line, left.name, left.used_in) for left in result.left]
    assert told == [
        (1, "nvflare.app_common.app_constant:ModelName", (6,)),
        (3, "nvflare.apis.executor:Executor", (5,)),
        (7, "nvflare.client:nothing", (7,)),
    ]
    assert '"best_model"' in result.left[0].advice
    assert "a script that takes tasks" in result.left[1].advice
    assert b"from nvflare.apis.executor import Executor" in result.source
    assert b"import federant.client as flare" in result.source


def test_a_name_that_lies_elsewhere_is_named_with_the_module_that_has_it() -> None:
    result = moved(
        "import nvflare.client.lightning as flare\nflare.patch(t)\nflare.AnalyticsDataType"
    )
    assert [(left.line, left.advice) for left in result.left] == [
        (3, "import it from federant.client")
    ]


def test_an_import_of_everything_is_named_because_its_uses_cannot_be_seen() -> None:
    assert moved("x = 1\nfrom nvflare.client import *").stars == (2,)
    result = moved("from nvflare.apis.executor import *")
    assert [left.name for left in result.left] == ["nvflare.apis.executor:*"]


def test_other_imports_are_none_of_its_business() -> None:
    source = "from . import nvflare\nimport nvflare_addons\nfrom .nvflare import x\nflare.foo()\n"
    result = moved(source)
    assert (result.source.decode(), result.moved, result.left) == (source, 0, ())


@pytest.mark.parametrize(
    ("source", "so"),
    [
        ("import nvflare", True),
        ("import os,nvflare.client", True),
        ("if x: from \\\n  nvflare.client import init", True),
        ("import os, \\\n  nvflare", True),
        ("# nvflare\nfrom nvflare_addons import x; from .nvflare import y", False),
        ("", False),
    ],
)
def test_whether_there_may_be_an_import_is_seen_at_a_glance(source: str, so: bool) -> None:
    assert may_import(source.encode()) is so


@pytest.mark.parametrize(
    ("source", "said"),
    [(b"import nvflare\nprint 'x'\n", "line 2"), (b"import nvflare\nx = '\xff'\n", "utf-8")],
)
def test_what_is_no_python_is_refused_with_the_reason(source: bytes, said: str) -> None:
    with pytest.raises(UnreadableSourceError, match=said):
        rewrite(source, load_table())


def test_what_nests_too_deep_to_be_read_is_refused_and_not_a_crash() -> None:
    source = "import nvflare.client as flare\nx = " + " + ".join(["1"] * 1500) + "\n"
    with pytest.raises(UnreadableSourceError, match="nests too deep"):
        rewrite(source.encode(), load_table())


MODULES = sorted(load_table().modules)
OTHERS = ["nvflare.apis.executor", "nvflare.recipe", "nvflare.fuel.utils.pipe", "os.path"]
NAMES = ["DXO", "FLModel", "init", "receive", "patch", "MetaKey", "Nothing", "RC", "flare_agent"]


@st.composite
def imports(draw: st.DrawFn) -> str:
    module = draw(st.sampled_from(MODULES + OTHERS))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    row = [name + draw(st.sampled_from(["", f" as {name}_", " as  y"])) for name in names]
    return draw(
        st.sampled_from(
            [
                f"import {module}",
                f"import {module} as a, os",
                f"from {module} import {', '.join(row)}",
                f"from {module} import ({' , '.join(row)},)",
                f"from {module} import (\n    # first\n    " + ",  # one\n    ".join(row) + "\n)",
                f"from {module.rpartition('.')[0]} import {module.rpartition('.')[2]}",
            ]
        )
    )


REST = [
    "x = [ 1,2 ]  # as it is",
    "def f():\n\treturn 'nvflare.client'",
    "flare.init( )",
    "nvflare.client.init()  # dotted",
    "a.FLModel; a.nothing",
]


@settings(max_examples=40)
@given(st.lists(st.one_of(imports(), st.sampled_from(REST)), min_size=1, max_size=6), st.booleans())
def test_a_moved_file_still_compiles_and_only_imports_have_changed(
    parts: list[str], nested: bool
) -> None:
    source = "\n".join(parts) + "\n"
    if nested:
        source = "try:\n" + textwrap.indent(source, "    ") + "finally:\n    pass\n"
    result = rewrite(source.encode(), load_table())
    after = result.source.decode()
    compile(after, "moved", "exec")
    for part in REST:
        if "nvflare.client.init" not in part:
            assert after.count(part) >= parts.count(part) or nested
    again = rewrite(result.source, load_table())
    assert (again.source, again.moved) == (result.source, 0)
