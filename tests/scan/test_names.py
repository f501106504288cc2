"""Names are resolved as Python resolves them; LibCST's providers are the oracle."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper, PositionProvider, QualifiedNameProvider

from bncodemod.catalog.torch import norm_class
from bncodemod.scan.index import EMPTY_INDEX, ProjectIndex
from bncodemod.scan.mentions import Mention, mentions
from bncodemod.scan.names import Names
from bncodemod.source.parse import parse
from bncodemod.source.text import SourceText
from bncodemod.source.tree import LazyTree

FIXTURES = Path(__file__).parent.parent / "fixtures"
CASES = sorted(p for p in FIXTURES.glob("*/*.in.py") if "_py3" not in p.name)


def found_in(code: str | bytes, index: ProjectIndex = EMPTY_INDEX) -> list[Mention]:
    data = textwrap.dedent(code).encode() if isinstance(code, str) else code
    source = SourceText.decode(data)
    return mentions(Names(LazyTree(source, parse(source)), index))


def oracle(data: bytes) -> set[tuple[int, str]]:
    """Line and class of every expression that LibCST is sure to be a norm by an import."""
    wrapper = MetadataWrapper(cst.parse_module(data), unsafe_skip_copy=True)
    names = wrapper.resolve(QualifiedNameProvider)
    positions = wrapper.resolve(PositionProvider)
    found = set()
    for node, qualified in names.items():
        if not isinstance(node, (cst.Name, cst.Attribute)):
            continue
        known = qualified() if callable(qualified) else qualified
        classes = {norm_class(q.name) for q in known if q.source.name == "IMPORT"}
        if len(known) == 1 and None not in classes:
            for norm in classes:
                assert norm is not None
                found.add((positions[node].start.line, norm.name))
    return found


def imports_and_stores(data: bytes) -> set[int]:
    """The lines on which a name stands that is not read: LibCST lists those as well."""
    tree = ast.parse(data)
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.name[:-6]}")
def test_whatever_libcst_is_sure_of_is_found(path: Path) -> None:
    data = path.read_bytes()
    skipped = imports_and_stores(data)
    found = {(m.node.lineno, m.norm.name) for m in found_in(data)}
    names = {name for _, name in found}
    missed = {
        (line, name)
        for line, name in oracle(data) - found
        if line not in skipped and name in names | {name}
    }
    # LibCST lists every binding of a name in its scope, this tool only those that reach the use.
    reads = {
        node.lineno
        for node in ast.walk(ast.parse(data))
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load)
    }
    assert {(line, name) for line, name in missed if line in reads} == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import torch\ntorch.nn.BatchNorm2d(3)", ["BatchNorm2d"]),
        ("import torch.nn as tnn\ntnn.BatchNorm1d(3)", ["BatchNorm1d"]),
        ("from torch.nn import *\nBatchNorm3d(3)", ["BatchNorm3d"]),
        ("from torch import *\nnn.BatchNorm3d(3)", ["BatchNorm3d"]),
        ("from torch.nn import BatchNorm2d as B\nB(3)", ["BatchNorm2d"]),
        (
            "from torch.nn.modules.batchnorm import _BatchNorm\nisinstance(m, _BatchNorm)",
            ["_BatchNorm"],
        ),
        ("def f():\n    import torch.nn as nn\n    return nn.BatchNorm2d(3)", ["BatchNorm2d"]),
        ("import torch.nn as nn\ndef f(nn):\n    return nn.BatchNorm2d(3)", []),
        ("import torch.nn as nn\nf = lambda nn: nn.BatchNorm2d(3)", []),
        ("import torch.nn as nn\n[nn.BatchNorm2d(3) for nn in things]", []),
        ("import torch.nn as nn\n[x for x in nn.BatchNorm2d(3).parameters()]", ["BatchNorm2d"]),
        ("from paddle import nn\nnn.BatchNorm2d(3)", []),
        ("from .layers import nn\nnn.BatchNorm2d(3)", []),
        (
            "import torch.nn as nn\nclass A:\n    nn = 1\n    def f(self): nn.BatchNorm2d(3)",
            ["BatchNorm2d"],
        ),
        ("from torch.nn import BatchNorm2d\nBatchNorm2d = make()\nBatchNorm2d(3)", []),
        ("from torch.nn import BatchNorm2d\nBatchNorm2d(3)\nBatchNorm2d = make()", ["BatchNorm2d"]),
        (
            "def f():\n    global nn\n    import torch.nn as nn\ndef g():\n    nn.BatchNorm2d(3)",
            ["BatchNorm2d"],
        ),
        ("import torch.nn as nn\nif (n := nn.BatchNorm2d)(3): pass", ["BatchNorm2d"]),
    ],
)
def test_names_as_python_resolves_them(code: str, expected: list[str]) -> None:
    assert [m.norm.name for m in found_in(code)] == expected


def test_the_index_says_what_another_file_exports() -> None:
    index = ProjectIndex({"pkg.norms.Norm": "torch.nn.BatchNorm2d"})
    code = "from pkg.norms import Norm\nNorm(3)"
    assert found_in(code) == []
    assert [m.norm.name for m in found_in(code, index)] == ["BatchNorm2d"]
