"""What a user may have meant by a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean "x"?`` for what comes nearest to ``word``; empty if nothing is near."""
    from difflib import get_close_matches

    matches = get_close_matches(word, sorted(known), n=5)
    # Of what is about as near, the mistake is seldom at the beginning.
    matches.sort(key=lambda match: _same_beginning(word, match), reverse=True)
    return f'; did you mean "{matches[0]}"?' if matches else ""


def _same_beginning(one: str, other: str) -> int:
    """How many characters two words begin with alike."""
    from itertools import takewhile

    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
