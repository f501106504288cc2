"""Outside the sites of every fixture no byte changes, but for what the rewrite has to bring in."""

from __future__ import annotations

from bncodemod.model import Finding, Status
from fixture_cases import (
    LINE_ENDING,
    decode,
    every_case_and_mode,
    output,
    rewritten,
    source,
    with_status,
)
from untouched import unpatched, untouched


@every_case_and_mode
def test_untouched_outside_the_edits(case: str, mode: str) -> None:
    before, after = source(case), output(case, mode)
    old, new = decode(before), decode(after)
    sites = with_status(rewritten(case, mode), Status.REWRITTEN)
    assert untouched(unpatched(before), unpatched(after), sites)
    assert set(LINE_ENDING.findall(new)) <= (set(LINE_ENDING.findall(old)) or {"\n"})
    assert bool(LINE_ENDING.search(new[-1:])) == bool(LINE_ENDING.search(old[-1:]))
    assert after.startswith(b"\xef\xbb\xbf") == before.startswith(b"\xef\xbb\xbf")


def test_the_check_of_untouched_bytes_sees_a_change() -> None:
    before = b"import a\n\nx = f(1)\ny = 2\n"
    site = Finding("p", "BN101", "", Status.REWRITTEN, 3, 5, 3, 9, 4, "", "", "", "f(1)", "g(1)")
    helper = b"\n\ndef make_group_norm(c):\n    return c\n\n\n"
    helper = b"import a\nimport b\n" + helper + b"x = g(\n    1)\ny = 2\n"
    assert untouched(before, before, [])
    assert untouched(before, before.replace(b"import a", b"import a\nimport b"), [])
    assert untouched(before, helper, [site])
    assert not untouched(before, helper, [])
    assert not untouched(before, helper.replace(b"y = 2", b"y  = 2"), [site])
    assert not untouched(before, before.replace(b"y = 2", b"y = 3"), [])
    assert not untouched(before, before.replace(b"\n", b"\r\n"), [])
    assert not untouched(before, before[:-1], [])
    assert not untouched(before, before.replace(b"x = f(1)\n", b""), [])
