"""What a look at a module's text finds."""

from __future__ import annotations

from bncodemod.scan.outline import Imported, Outline


def test_imports_however_they_are_written() -> None:
    outline = Outline(
        b"from .a import b, c as d\nfrom k import *  # noqa: F403\nimport n.o, p.q as r\n"
        b"from e.f import (\n  g,  # (one)\n  h as i,\n)\nfrom l \\\n  import \\\n  m; import j\n"
    )
    assert sorted(outline.imports, key=str) == sorted(
        [
            ("b", Imported("a", 1, "b")),
            ("d", Imported("a", 1, "c")),
            ("*", Imported("k", 0, "*")),
            ("n", Imported("n", 0, "")),
            ("r", Imported("p.q", 0, "")),
            ("g", Imported("e.f", 0, "g")),
            ("i", Imported("e.f", 0, "h")),
            ("m", Imported("l", 0, "m")),
            ("j", Imported("j", 0, "")),
        ],
        key=str,
    )


def test_names_are_what_python_makes_of_them() -> None:
    (found,) = Outline("from sch\u00f6n import \ufb01x".encode()).imports
    assert found == ("fix", Imported("sch\u00f6n", 0, "fix"))


def test_bases_and_aliases_and_what_is_read_from_a_name() -> None:
    outline = Outline(
        b"class A(m.Base, metaclass=Meta):\n    pass\n\nB = m.C\nx = m.d.e(m.f)\ny = nm.g\n"
    )
    assert ("m", "Base") in outline.derived["A"]
    assert outline.derived["B"] == [("m", "C")]
    assert set(outline.chains("m")) == {("Base",), ("C",), ("d", "e"), ("f",)}
