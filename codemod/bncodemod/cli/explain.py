"""``bncodemod explain``: what a rule, or an answer of the verifier, means."""

from __future__ import annotations

import click

from bncodemod.settings import nearest


@click.command("explain")
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Say what CODE means, and what to do by hand; without it, list all.

    CODE is that of a rule, as BN101, or a verdict, check or cause of the verifier, as
    running-stats.
    """
    from bncodemod.rules import pages as rules
    from bncodemod.verify.pages import PAGES

    known = {**rules(), **PAGES}
    if code is None:
        width = max(map(len, known), default=0)
        for name in (*sorted(rules()), *PAGES):
            title = known[name].strip().partition("\n")[0]
            click.echo(f"{name:{width}}  {title}")
        return
    name = code.upper() if code.upper() in known else code.lower()
    if name not in known:
        raise click.BadParameter(f"nothing is called {code!r}{nearest(code, known)}")
    click.echo(f"{name}: {known[name].strip()}")
