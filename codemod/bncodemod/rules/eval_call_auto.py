"""What ``auto`` asks of the transforms of a file: whether all that they run can be in eval mode.

Files that may share models decide together: either every model that runs under a transform is in
eval mode there, or put into it, and norms keep their statistics; or they lose them, and no model is
put into eval mode for their sake.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from bncodemod.rules.rule import Match
from bncodemod.scan.callers import Definition
from bncodemod.scan.index import Evaluation
from bncodemod.scan.model_places import CHAIN
from bncodemod.scan.transform_sites import Site, owners
from bncodemod.scan.weights import holders
from bncodemod.strategies.decision import Open
from bncodemod.strategies.model_use import safe_use

if TYPE_CHECKING:
    from bncodemod.rules.eval_call import Judge

# ``x[None]``, ``x[None, :]``, ``x.unsqueeze(0)``, ``x.view(1, -1)``, ``torch.unsqueeze(x, 0)``.
_MAKES_BATCH = (ast.Subscript, ast.Call)
_ONE = re.compile(
    r"\[None(?:, [:.]+)*\]$|unsqueeze\((?:\w+, )?(?:dim=)?0\)$|\.(?:view|reshape)\(1, [^()]*\)$"
)
_ONE_ROW = "use --strategy group-norm, or call the model in eval mode there and leave its norms"
_APART = (
    "give the two models of different classes, or use --strategy eval-mode and see to the other"
    " call by hand; if the statistics of the batch are meant here as well, ignore this"
)


def evaluation(
    judge: Judge, sites: list[Site], is_left: Callable[[ast.AST], bool] = lambda _: False
) -> Evaluation:
    """What a file runs under transforms.

    ``is_left`` says of a place whether a comment leaves it to the user.
    """
    blocking = (site for site in sites if isinstance(judge.judged(site), Open))
    obstacles = [site.node for site in blocking if not is_left(site.node)]
    obstacles += [
        use.transformed.node
        for use in judge.found.uses
        if not judge.found.is_followed(use) and not judge.found.is_left_to_callers(use)
    ]
    obstacles += judge.found.unfollowed_calls()
    left = [site for site in sites if is_left(site.node)]
    ways = [judge.outcome([site for site in sites if site not in left]).way]
    return Evaluation(
        run=min((judge.context.line(site.node) for site in sites), default=0),
        way=", or ".join(filter(None, [*ways, "as a comment leaves them" if left else ""])),
        obstacle=min(map(judge.context.line, obstacles), default=0),
        is_open=any(_is_open(judge, site) for site in sites),
    )


def _is_open(judge: Judge, site: Site) -> bool:
    """Whether a site runs what comes from a call that no file of the project shows."""
    if all(judge.modules.built_by(module) for module in site.modules):
        return False
    names = judge.context.names
    return any(
        name in names.index.uses.alone and _takes(definition) and not _is_used(judge, name)
        for name, definition in holders(names, site.statement).items()
        if judge.scopes.scope_of(definition) is judge.tree.module
    )


def _takes(definition: Definition) -> bool:
    return isinstance(definition, ast.ClassDef) or any(
        isinstance(below, ast.arg) for below in ast.walk(definition.args)
    )


def _is_used(judge: Judge, name: str) -> bool:
    return any(
        isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load)
        for node in judge.tree.occurrences(name)
    )


def losses(judge: Judge, sites: list[Site], reason: str) -> Iterator[Match]:
    """What the loss of the statistics, which has a reason, does to what runs under transforms."""
    at_odds = list(_sites_at_odds(judge, sites))
    for site in at_odds:
        yield Match(site.node, partial(_at_odds, site, reason))
    flat = _flat_norms(judge)
    for site in sites if flat else ():
        single = _batch_of_one(judge, site)
        if single and site not in at_odds and any(_may_change(judge, m) for m in site.modules):
            yield Match(site.node, partial(_of_one, site, single, flat, reason))


def _at_odds(site: Site, reason: str) -> Open:
    return Open(
        f"{', '.join(site.by_text)}: in eval mode here, where its batch norms use their running"
        f" statistics, which auto takes from norms of the project: {reason}",
        _APART,
    )


def _of_one(site: Site, single: str, flat: str, reason: str) -> Open:
    return Open(
        f"{', '.join(site.by_text)}: gets a batch of one here ({single}), of which BatchNorm1d"
        f" ({flat}) has no statistics if it is one row, and auto takes the running ones: {reason}",
        _ONE_ROW,
    )


def _flat_norms(judge: Judge) -> str:
    """Where norms are built of the rows of a batch; empty if nowhere."""
    for mention in judge.context.mentions:
        if mention.norm.name.endswith("BatchNorm1d"):
            return f"line {judge.context.line(mention.node)}"
    return judge.context.names.index.uses.flat


def _batch_of_one(judge: Judge, site: Site) -> str:
    """What makes a batch of a single sample in the functions that run under transforms."""
    for run in site.runs:
        for function in run.use.called.functions:
            for node in judge.tree.walk_below(function):
                if _ONE.search(ast.unparse(node)) if isinstance(node, _MAKES_BATCH) else False:
                    return ast.unparse(node)
    return ""


def _sites_at_odds(judge: Judge, sites: list[Site]) -> Iterator[Site]:
    """The sites, and calls that lead to one, with models in eval mode whose norms may change."""
    names = judge.context.names
    takers = {f.name for site in sites for module in site.modules for f in owners(names, module)}
    found = [site for site in sites if site.runs or site.beyond]
    found += (
        site for name in names.index.uses.leading for site in _calls(judge, name, is_own=False)
    )
    found += (site for name in sorted(takers) for site in _calls(judge, name, is_own=True))
    seen = set()
    for site in found:
        if judge.are_in_eval_mode(site) and any(_may_change(judge, m) for m in site.modules):
            if judge.context.line(site.node) not in seen:
                seen.add(judge.context.line(site.node))
                yield site


def _calls(judge: Judge, name: str, *, is_own: bool) -> Iterator[Site]:
    """What is handed to functions of a name, which lead to a transform: one may be a model."""
    for call in judge.found.calls_of(name, is_own=is_own):
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            value = _unchained(value)
            modules = judge.modules.of(value).all_modules
            if isinstance(value, (ast.Name, ast.Attribute, ast.Call)):
                modules = [*modules, value]
            for module in modules:
                yield Site(call, judge.tree.statement(call), (), (module,), name)


def _unchained(value: ast.expr) -> ast.expr:
    while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        if value.func.attr not in CHAIN:
            break
        value = value.func.value
    return value


def _may_change(judge: Judge, module: ast.expr) -> bool:
    """Whether a model may hold norms that lose their statistics."""
    context = judge.context
    calls = judge.modules.built_by(module)
    for call in calls:
        qualified = context.names.qualified(call.func)
        if any(meaning.definition is not None for meaning in context.names.meanings(call.func)):
            if any(not safe_use(context, mention.node) for mention in context.mentions):
                return True
        elif (
            qualified.startswith(".")
            or context.names.index.is_own(qualified)
            or not safe_use(context, call)
        ):
            return True
    return not calls
