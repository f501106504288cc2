"""Runs the rules over one file: matches become decisions, decisions edits and findings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from bncodemod.model import Finding, Status
from bncodemod.rules import all_rules, eval_call
from bncodemod.rules.rule import Match, Rule
from bncodemod.rules.strict_load import builds_norms, builds_own_norms, makers_of_loads
from bncodemod.rules.strict_load import rule as strict_load
from bncodemod.rules.unused_ignore import rule as unused_ignore
from bncodemod.scan.index import Evaluation, ProjectIndex
from bncodemod.scan.names import Names
from bncodemod.settings import Settings
from bncodemod.source.errors import InternalError, TooComplex
from bncodemod.source.parse import parse, parses
from bncodemod.source.splice import Edit, Spliced, splice
from bncodemod.source.suppression import Ignore, Suppressions
from bncodemod.source.text import SourceText
from bncodemod.source.tree import LazyTree
from bncodemod.strategies.auto import NAME as AUTO
from bncodemod.strategies.auto import Auto
from bncodemod.strategies.base import Strategy
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.eval_mode import EvalMode
from bncodemod.strategies.group_norm import GroupNorm
from bncodemod.strategies.imports import Imports
from bncodemod.strategies.no_running_stats import NoRunningStats
from bncodemod.strategies.patch_code import is_helper
from bncodemod.strategies.patches import KEEPING
from bncodemod.strategies.runtime_patch import RuntimePatch

_STRATEGIES: dict[str, Strategy] = {
    s.name: s for s in (NoRunningStats(), GroupNorm(), RuntimePatch(), EvalMode(), Auto())
}


@dataclass(frozen=True, slots=True)
class _Decided:
    rule: Rule
    node: ast.AST
    decision: Decision | None  # None where a comment suppresses the match


def rewrite_text(
    source: SourceText, path: str, settings: Settings, index: ProjectIndex
) -> tuple[str, list[Finding]]:
    """The text after the rewrite, and the findings in the order of the source.

    Raises SourceError where the file cannot be handled.
    """
    suppressions = Suppressions.of(source)
    if suppressions.skip_file or path.endswith(".pyi"):
        return source.text, []
    context = _context(source, settings, index)
    decided = list(_decide(context, suppressions))
    if context.keeps_all_statistics:
        decided = [d for d in decided if not d.rule.of_lost_statistics]
    edits = [e for d in decided if isinstance(d.decision, Rewrite) for e in d.decision.edits]
    insertions = context.imports.insertions() if edits else []
    spliced = _splice(source, edits, insertions)
    findings = [_finding(context, path, d, spliced) for d in decided]
    findings += _unused(context, path, suppressions, spliced)
    findings.sort(key=lambda f: (f.line, f.column, f.code))
    return spliced.text, findings


def changes_state_dicts(source: SourceText, settings: Settings, index: ProjectIndex) -> bool:
    """Whether models of a file have other keys after its rewrite than once they had.

    It says the same of the file once that is rewritten.
    """
    suppressions = Suppressions.of(source)
    if suppressions.skip_file:
        return False
    return _changes_state_dicts(_context(source, settings, index), suppressions)


def evaluated(source: SourceText, settings: Settings, index: ProjectIndex) -> Evaluation:
    """What a file runs under transforms, and whether that can be in eval mode."""
    suppressions = Suppressions.of(source)
    context = _context(source, settings, index)

    def is_left(node: ast.AST) -> bool:
        is_suppressed = _is_suppressed(context, eval_call.rule, node, suppressions)
        return suppressions.skip_file or is_suppressed

    found = eval_call.evaluated(context, is_left)
    return found if settings.enabled(eval_call.rule.code) else replace(found, obstacle=found.run)


def loaded_makers(source: SourceText, settings: Settings, index: ProjectIndex) -> frozenset[str]:
    """The names by which a file gets the models that it loads, unless it builds norms itself."""
    suppressions = Suppressions.of(source)
    if suppressions.skip_file:
        return frozenset()
    context = _context(source, settings, index)
    makers = makers_of_loads(context)
    if makers and _changes_state_dicts(context, suppressions):
        return frozenset()
    return makers


def _changes_state_dicts(context: Context, suppressions: Suppressions) -> bool:
    if context.strategy.rewrites_source:
        if context.settings.strategy != AUTO:
            return builds_norms(context) or (
                context.settings.patches and _patches_drop_statistics(context, suppressions)
            )
        # Under auto, models that weights are loaded into keep their statistics.
        decided = _decide(context, suppressions) if builds_own_norms(context) else ()
        return bool(list(decided)) and not context.keeps_all_statistics
    return _patches_drop_statistics(context, suppressions)


def _patches_drop_statistics(context: Context, suppressions: Suppressions) -> bool:
    return any(context.patches.drop_statistics for _ in _decide(context, suppressions))


def _context(source: SourceText, settings: Settings, index: ProjectIndex) -> Context:
    names = Names(LazyTree(source, parse(source)), index)
    return Context(names, settings, _STRATEGIES[settings.strategy], Imports(names))


def _decide(context: Context, suppressions: Suppressions) -> Iterator[_Decided]:
    claimed = context.claimed
    helpers = _helper_nodes(context)
    for rule in all_rules():
        if not _runs(context, rule):
            continue
        # A rule that is switched off claims its places all the same: what another makes of them
        # must not depend on the selection.
        for match in rule.check(context):
            if match.node in claimed or match.node in helpers:
                continue
            claimed.add(match.node)
            claimed.update(match.claims)
            if not context.settings.enabled(rule.code):
                continue
            yield _Decided(rule, match.node, _decision(context, rule, match, suppressions))


def _runs(context: Context, rule: Rule) -> bool:
    """Whether what a rule finds can matter: a hazard of a rewrite needs something rewritten."""
    if rule.strategies:
        return context.strategy.name in rule.strategies
    if context.strategy.rewrites_source or not rule.code.startswith("BN3"):
        return True
    if not rule.at_run_time:
        return False
    if rule is strict_load:
        from_elsewhere = context.names.index.brings_loaded_norms
    else:  # the models of another file may be patched
        is_patched = context.settings.strategy == RuntimePatch.name
        from_elsewhere = is_patched and context.settings.patch not in KEEPING
    return context.patches.drop_statistics or from_elsewhere


def _helper_nodes(context: Context) -> set[ast.AST]:
    """What the helpers consist of that a patch has brought into the file: they name norms."""
    return {
        node
        for statement in context.tree.module.body
        if is_helper(statement)
        for node in context.tree.walk_below(statement)
    }


def _decision(
    context: Context, rule: Rule, match: Match, suppressions: Suppressions
) -> Decision | None:
    if _is_suppressed(context, rule, match.node, suppressions):
        return None
    before = context.imports.state()
    undo = partial(context.imports.restore, before)
    decision = match.decide()
    mends = rule.code.startswith("BN4") and isinstance(decision, Rewrite)
    if not mends and not rule.strategies:
        found = decision
        decision = context.strategy.settled(context, match.node, decision, undo)
        _note_statistics(context, rule, found, decision)
    if isinstance(decision, Rewrite) and not _located(context, match.node):
        decision = Open(
            "the place of this expression inside an f-string is not known to this Python",
            "move the expression out of the f-string, or run bncodemod with Python 3.12 or newer",
        )
    if not isinstance(decision, Rewrite):
        undo()
    return decision


def _is_suppressed(context: Context, rule: Rule, node: ast.AST, suppressions: Suppressions) -> bool:
    first, last = (context.tree.source.position(place)[0] for place in context.tree.span(node))
    return suppressions.suppress(rule.code, first, last)


def _note_statistics(context: Context, rule: Rule, found: Decision, settled: Decision) -> None:
    """Remember what becomes of the statistics of a site: what a rule says, what a strategy does."""
    if not rule.code.startswith("BN1"):
        return
    if isinstance(settled, Rewrite):
        context.loses_statistics |= not settled.is_patch and context.strategy.rewrites_source
    elif isinstance(found, Safe):
        context.loses_statistics |= rule.code == "BN101" or found.is_without_statistics
    else:
        context.leaves_statistics |= settled.message.startswith(f"{context.strategy.name}: ")


def _located(context: Context, node: ast.AST) -> bool:
    """Whether the positions of a node are true: before Python 3.12 those in f-strings are not."""
    if not any(isinstance(above, ast.JoinedStr) for above in context.tree.ancestors(node)):
        return True
    try:
        there = ast.parse(f"({context.tree.text(node)})", mode="eval").body
    except SyntaxError:
        return False
    return ast.dump(there) == ast.dump(node)


def _splice(source: SourceText, edits: list[Edit], insertions: list[tuple[int, str]]) -> Spliced:
    text = source.text
    in_style = [(at, added.replace("\n", source.newline(at))) for at, added in insertions]
    try:
        spliced = splice(text, edits, in_style)
    except RecursionError:
        raise TooComplex(
            "an expression that holds a site is nested too deeply for LibCST",
            line=source.position(edits[0].start)[0] if edits else 0,
            remedy="split the expression, or exclude the file",
        ) from None
    except Exception as error:  # LibCST raises many kinds; the file must come out whole
        raise InternalError(
            f"the rewrite failed: {type(error).__name__}: {error}",
            line=source.position(edits[0].start)[0] if edits else 0,
            remedy="please report it with the file; exclude the file until then",
        ) from error
    if spliced.text != text and not parses(spliced.text):
        raise InternalError(
            "the rewritten file would not parse",
            line=source.position(edits[0].start)[0],
            remedy="please report it with the file; exclude the file until then",
        )
    return spliced


def _finding(context: Context, path: str, decided: _Decided, spliced: Spliced) -> Finding:
    source, decision = context.tree.source, decided.decision
    start, end = context.tree.span(decided.node)
    before, after, message, remedy = source.text[start:end], "", "", ""
    if decision is None:
        status, message = Status.IGNORED, "suppressed by a comment"
    elif isinstance(decision, Rewrite):
        status, message, remedy = Status.REWRITTEN, decision.message, decision.remedy
        first = decision.edits[0]
        after = spliced.after[first]
        overlaps = max(start, first.start) < min(end, first.end)
        if decision.is_patch and not overlaps:
            after = after.strip()
        else:
            start, end = first.start, first.end
        before = source.text[start:end]
    elif isinstance(decision, Open):
        status, message, remedy = Status.OPEN, decision.message, decision.remedy
    else:
        status, message = Status.SAFE, decision.message
    line, column = source.position(start)
    end_line, end_column = source.position(end)
    return Finding(
        path=path,
        code=decided.rule.code,
        kind=decided.rule.kind,
        status=status,
        line=line,
        column=column,
        end_line=end_line,
        end_column=end_column,
        line_after=line + spliced.lines_added_before(start),
        message=message,
        remedy=remedy,
        strategy=context.strategy.name,
        before=before,
        after=after,
    )


def _unused(
    context: Context, path: str, suppressions: Suppressions, spliced: Spliced
) -> list[Finding]:
    """BN001 for every comment that suppressed nothing, unless a rule it names did not run."""
    if not context.settings.enabled(unused_ignore.code):
        return []
    skipped = [rule.code for rule in all_rules() if not context.settings.enabled(rule.code)]
    of_others = [rule.code for rule in all_rules() if not _runs(context, rule)]
    return [
        _unused_finding(context, path, ignore, spliced)
        for ignore in suppressions.ignores.values()
        if not ignore.used
        and not any(ignore.covers(code) for code in skipped)
        and not any(ignore.codes and ignore.covers(code) for code in of_others)
    ]


def _unused_finding(context: Context, path: str, ignore: Ignore, spliced: Spliced) -> Finding:
    offset = context.tree.source.line_start(ignore.line)
    return Finding(
        path=path,
        code=unused_ignore.code,
        kind=unused_ignore.kind,
        status=Status.OPEN,
        line=ignore.line,
        column=ignore.column,
        end_line=ignore.line,
        end_column=ignore.column + len(ignore.text),
        line_after=ignore.line + spliced.lines_added_before(offset),
        message="this comment suppresses nothing",
        remedy="remove the comment, or correct the code in brackets",
        strategy=context.strategy.name,
        before=ignore.text,
        after="",
    )
