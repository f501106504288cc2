"""Every verdict, check and cause has a page, and no page is of nothing."""

from __future__ import annotations

from bncodemod.rules import pages
from bncodemod.verify.model import Cause, Check, Verdict
from bncodemod.verify.pages import PAGES


def test_everything_has_a_page() -> None:
    names = {verdict.value.replace(" ", "-") for verdict in Verdict}
    names |= {check.value for check in Check} | {cause.value for cause in Cause}
    assert set(PAGES) == names
    assert not names & {code.lower() for code in pages()}


def test_a_page_begins_with_one_sentence() -> None:
    for name, page in PAGES.items():
        first = page.partition("\n")[0]
        assert first.endswith((".", ":")), name
        assert len(first) < 160, name
