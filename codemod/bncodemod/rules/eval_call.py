"""A model is called under ``vmap``, ``jacrev`` or another transform, outside of training.

Only with ``--strategy eval-mode`` and ``auto``: in eval mode batch norm reads its running
statistics and does not update them, so that transforms run over it. The model is put into eval
mode around the statement. Afterwards, also after an exception, each of its modules is in the mode
that it was in.

Before:
    def jacobians(model, x):
        return vmap(jacrev(model))(x)
After (eval-mode):
    def jacobians(model, x):
        with evaluating(model):
            return vmap(jacrev(model))(x)

Where the statement is part of a training (a loss, ``backward``, ``optimizer.step`` in the same loop
or function, in one that calls it here or in another file of the project, a ``forward``, parameters
that it is differentiated by and that are changed afterwards) it is
reported: eval mode would change what is learnt. ``auto`` puts models into eval mode only where
all that run under transforms can be, in all files that may share them (one program imports both);
else it rewrites their norms, and reports what is in eval mode under a transform today, or gets
batches of one row there: both depend on the running statistics.

A function that is handed around as a value, or imported by another name, is not followed: it is
reported where that file trains at all, else said. A model that is handed to a function of another
file, which transforms whatever it is given, is to be in eval mode there.

What is computed and only looked at (printed, logged, added to a list that is) is no part of a
training beside it.

A function that runs under a transform what it is handed (``score(log_prob, x)``) stays as it is:
the model of a function that it is handed is put into eval mode where that is handed in. A parameter
that may be a model or something else is put into eval mode if it is one.

What may be a model, or run one, for all that the file shows (``jacrev(self.core)``) is reported.
So are ensembles that map over stacked parameters and take the buffers of one module: in eval mode
all members would be normalised with the statistics of one. The norms of a file are safe only if
none of its calls is in doubt.

Reported is also where eval mode is not what is wanted: a transform with ``randomness``, a model
that the code puts into train mode above or where it calls the function, or whose mode depends on a
condition there, a statement that runs the model otherwise as well.

By hand: ``model.eval()`` before the call, and the modes as they were behind it. A plain
``model.train()`` there unfreezes what was frozen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial

from bncodemod.rules.eval_call_auto import evaluation, losses
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.callers import Definition, is_handed_around
from bncodemod.scan.callers_mode import last_mode
from bncodemod.scan.eval_contexts import sets_eval_mode
from bncodemod.scan.index import Evaluation
from bncodemod.scan.last_mode import Mode, Said
from bncodemod.scan.parameter_updates import line_of_update
from bncodemod.scan.prefilter import may_hold_site
from bncodemod.scan.randomness import sign_of_randomness
from bncodemod.scan.scopes import Function
from bncodemod.scan.shared_buffers import shares_buffers
from bncodemod.scan.stacked_buffers import maps_over_buffers
from bncodemod.scan.training import any_training, sign_of_training
from bncodemod.scan.transform_sites import Run, Site, TransformSites
from bncodemod.scan.weights import holders
from bncodemod.strategies import auto, eval_mode
from bncodemod.strategies.context import Calls, Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe
from bncodemod.strategies.eval_mode import obstacle, statement_above, wrapped
from bncodemod.strategies.model_use import safe_use

# First of all: what becomes of the norms depends on the calls.
rule = Rule("BN113", "call under a transform", priority=0, strategies=(eval_mode.NAME, auto.NAME))

_GRADIENT = re.compile(r"\.grad(?:_and_value)?$")
_IF_A_MODEL = (
    "if it is or runs a model with batch norm, put that into eval mode there, or rewrite with"
    " --strategy no-running-stats"
)
_MAPPED = "its buffers are stacked with its parameters and mapped over"
_STACK = (
    "rewrite with --strategy no-running-stats; or stack the buffers as well, with"
    " torch.func.stack_module_state, and map over both"
)
_BY_HAND = "call the model in eval mode there, or rewrite with --strategy no-running-stats"
_LOOK = "let bncodemod see the whole project (no --no-project), or use --strategy eval-mode"
_WISHED = (
    "rewrite the norms instead, with --strategy no-running-stats or group-norm; or put the batch"
    " norms alone into eval mode by hand"
)
_READS = re.compile(
    r"\.(?:(?:named_)?(?:parameters|buffers|children|modules)|state_dict|get_\w+|eval|train|to|cpu"
    r"|cuda|float|double|half|requires_grad_|zero_grad)$"
)
_HARMLESS = frozenset({"getattr", "hasattr", "id", "isinstance", "len", "repr", "str", "type"})
_TRAINING = (
    "rewrite the norms instead, with --strategy no-running-stats or group-norm; if this is no"
    " training, put the model into eval mode by hand"
)


@rule.finds
def calls_under_transforms(context: Context) -> Iterator[Match]:
    """The statements that run a model under a transform, and transforms that are lost sight of."""
    judge = Judge(context)
    sites = list(judge.found.sites())
    reason = judge.reason_against(sites) if context.strategy.name == auto.NAME else ""
    if reason:
        yield from losses(judge, sites, reason)
        return
    shared = context.names.index.uses.evaluated
    context.calls = Calls(way=shared) if shared else judge.outcome(sites)
    for site in sites:
        yield Match(site.node, partial(judge.decide, site))


def evaluated(context: Context, is_left: Callable[[ast.AST], bool]) -> Evaluation:
    """What a file runs under transforms, and whether that can be in eval mode.

    ``is_left`` says of a place whether a comment leaves it to the user.
    """
    judge = Judge(context)
    return evaluation(judge, list(judge.found.sites()), is_left)


class Judge:
    """Decides what becomes of the calls of one file."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.tree = context.tree
        self.scopes = context.names.scopes
        self.found = TransformSites(context.names)
        self.modules = self.found.modules
        self._wrapped: dict[ast.stmt, tuple[str, ...]] = {}

    def reason_against(self, sites: list[Site]) -> str:
        """Why ``auto`` puts no model into eval mode; empty if all that run under transforms can."""
        uses = self.context.names.index.uses
        if uses.evaluated or uses.unevaluated:
            return uses.unevaluated
        found = evaluation(self, sites)
        return found.against(f"line {found.obstacle}")

    def outcome(self, sites: list[Site]) -> Calls:
        """How all that the file runs under transforms comes out, as far as that is seen."""
        ways = set()
        for site in sites:
            judged = self.judged(site)
            if isinstance(judged, Open):
                return Calls(doubt=f"line {site.statement.lineno} is open")
            is_mapped = judged is not None and judged.message.endswith(_MAPPED)
            ways.add("with buffers that are mapped over" if is_mapped else "in eval mode here")
        for use in self.found.uses:
            if not self.found.is_followed(use) and not self.found.is_left_to_callers(use):
                line = self.context.line(use.transformed.node)
                what = ast.unparse(use.transformed.function)
                return Calls(doubt=f"line {line} runs {what}, which is not followed")
        return Calls(way=", or ".join(sorted(ways)))

    def decide(self, site: Site) -> Decision:
        """What becomes of a site."""
        judged = self.judged(site)
        if judged is None and self._is_blind(site):
            message = f"{', '.join(site.by_text)}: runs under a transform, and no file was looked"
            judged = Open(f"{message} at that may build its norms", _LOOK)
        return self._rewrite(site) if judged is None else judged

    def _is_blind(self, site: Site) -> bool:
        """Whether ``auto`` may change norms of a model in a file that was not looked at."""
        return (
            self.context.strategy.name == auto.NAME
            and not self.context.names.index.uses.is_known
            and not may_hold_site(self.tree.source.text.encode(), self.context.names.index)
            and not all(self.modules.built_by(module) for module in site.modules)
        )

    def judged(self, site: Site) -> Safe | Open | None:
        """Why a site stays as it is; None if its statement can be put into eval mode."""
        shown = ", ".join(site.by_text)
        if site.unseen:
            unseen = ", ".join(dict.fromkeys(map(ast.unparse, site.unseen)))
            message = f"{unseen}: runs under a transform, and may be a model or run one"
            return Open(f"{message}: what it is does not show", _IF_A_MODEL)
        if site.beyond and self.are_in_eval_mode(site):
            return Safe(f"{shown}: in eval mode here")
        if site.beyond:
            return Open(f"{shown}: {site.beyond} runs it under a transform", _BY_HAND)
        if not site.runs:
            message = f"{shown}: runs under a transform that is called where it is not seen"
            return Open(message, _BY_HAND)
        if self.are_in_eval_mode(site):
            return Safe(f"{shown}: in eval mode here")
        if all(map(self._is_ensemble, site.runs)):
            return Safe(f"{shown}: {_MAPPED}")
        said = {text: self._last_mode(text, site.statement) for text in site.by_text}
        frozen = [self._safe_use(module) for module in site.modules]
        if all(frozen) and not any(last.is_undone for last in said.values()):
            return Safe(f"{shown}: {frozen[0]}")
        if any(map(self._shares_buffers, site.runs)):
            message = f"{shown}: an ensemble under a transform, of which the parameters are stacked"
            return Open(f"{message}, and not the statistics: all would use those of one", _STACK)
        wish = self._wish(site, said)
        if wish:
            return Open(f"{shown}: runs under a transform, {wish}", _WISHED)
        sign = self._sign(site)
        if sign:
            return Open(f"{shown}: runs under a transform in a training ({sign})", _TRAINING)
        for text, module in site.by_text.items():
            if not self._is_visible(module, site.statement):
                message = f"{text}: runs under a transform and has no name where that is called"
                return Open(message, _BY_HAND)
            if self.modules.may_be_other(module):
                message = f"{text}: runs under a transform, and may be no module in some rounds"
                return Open(message, _BY_HAND)
        for run in site.runs:
            why = obstacle(self.context, run.call)
            if why:
                return Open(f"{shown}: runs under a transform, but {why}", _BY_HAND)
        return None

    def _is_ensemble(self, run: Run) -> bool:
        """Whether stacked buffers are mapped over, and nothing is differentiated in between."""
        within = set(run.use.called.functions)
        if run.given is not None:
            return False
        return maps_over_buffers(self.context.names, run.use.transformed, run.call) and not any(
            within.intersection(self.tree.ancestors(use.transformed.node))
            for use in self.found.uses
        )

    def _shares_buffers(self, run: Run) -> bool:
        """Whether parameters are mapped over, by this run or in it, and buffers are not."""
        within = {run.use.transformed.function, *run.use.called.functions}
        return any(
            shares_buffers(self.context.names, use.transformed, use.called)
            for use in self.found.uses
            if use is run.use or within.intersection(self.tree.ancestors(use.transformed.node))
        )

    def _wish(self, site: Site, said: dict[str, Said]) -> str:
        """What says that eval mode is not wanted at a site; empty if nothing does."""
        for run in site.runs:
            sign = sign_of_randomness(
                self.tree, site.statement, run.use.transformed, run.use.called
            )
            if sign:
                return f"which is to draw random numbers ({sign}): eval mode switches dropout off"
        moded = self.context.names.index.uses.in_train_mode
        for name, around in holders(self.context.names, site.statement).items():
            if name in moded and isinstance(around, Function):
                if not all(last.mode is Mode.EVAL for last in said.values()):
                    return f"and {moded[name]} calls {name} with a model in train mode"
        for text, last in said.items():
            if last.mode is Mode.TRAIN:
                return f"and line {last.line} puts {text} or a part of it into train mode"
            if last.is_undone:
                return f"and line {last.line} changes the mode of {text} or of a part of it"
            if last.has_dropout_on:
                return f"and {text} has its dropout in train mode, which eval mode switches off"
            other = self._other_run(site, text)
            if other:
                return f"and the statement runs {text} in another way as well: {other}"
        return ""

    def _other_run(self, site: Site, text: str) -> str:
        """A call in a site's statement that may run a module, but not under the transform."""
        runs = {run.call for run in site.runs}
        transformed = {run.transformed for run in site.runs}
        pending: list[ast.AST] = [site.statement]
        while pending:
            node = pending.pop()
            if node in transformed:
                continue
            below = ast.iter_child_nodes(node)
            pending.extend(child for child in below if not isinstance(child, ast.stmt))
            if isinstance(node, ast.Call) and node not in runs and _may_run(node, text):
                return ast.unparse(node)
        return ""

    def _safe_use(self, module: ast.expr) -> str:
        """Why a model that is built here runs under transforms as it is; empty if it may not."""
        reasons = [safe_use(self.context, call) for call in self.modules.built_by(module)]
        return reasons[0] if reasons and all(reasons) else ""

    def _rewrite(self, site: Site) -> Rewrite:
        modules = tuple(site.by_text)
        self._wrapped[site.statement] = modules
        above = statement_above(self.context, site.statement)
        goes_on = above is not None and self._wrapped.get(above) == modules
        edit = wrapped(self.context, site.statement, modules, goes_on=goes_on)
        message = f"{', '.join(modules)}: in eval mode here, where batch norm uses its running"
        return Rewrite((edit,), f"{message} statistics; {self._unseen(site)}")

    def _unseen(self, site: Site) -> str:
        """How far it is known that nothing trains by a site."""
        for name, function in holders(self.context.names, site.statement).items():
            place = self._handed_in_file(function) or self.context.names.index.uses.handed.get(name)
            if place and isinstance(function, Function):
                return f"{name} is handed around ({place}): whether a training calls it is not seen"
        if self.context.names.index.uses.is_known:
            return "nothing in the project is seen to train by it"
        if self.scopes.scope_of(site.statement) is self.tree.module:
            return "nothing in this file is seen to train by it"
        return "nothing in this file is seen to train by it, and no other file was looked at"

    def _sign(self, site: Site) -> str:
        """What says that a statement trains; empty if nothing does."""
        functions = [function for run in site.runs for function in run.use.called.functions]
        statements = dict.fromkeys(s for run in site.runs for s in self._statements(run))
        for statement in statements:
            found = sign_of_training(self.context.names, statement, functions)
            if found:
                return f"line {found[1]}: {found[0]}"
        trained = self.context.names.index.uses.trained
        for name, around in holders(self.context.names, site.statement).items():
            if name in trained and isinstance(around, Function):
                return f"{trained[name]}: {name} is part of one, or handed around beside one"
            handed = self._handed_in_file(around)
            training = any_training(self.context.names) if handed else None
            if training:
                return f"{name} is handed around in {handed}; line {training[1]}: {training[0]}"
        for run in site.runs:
            by_gradient = any(map(_GRADIENT.search, run.use.transformed.transforms))
            if by_gradient and run.use.called.parameters:
                return "gradients of its parameters are taken"
            names = self.context.names
            if run.use.called.parameters:
                for call in [run.call] if run.given is None else run.use.transformed.runs:
                    line = line_of_update(names, run.use.transformed, run.use.called, call)
                    if line:
                        return f"line {line}: parameters that it is differentiated by are changed"
        return ""

    def _statements(self, run: Run) -> Iterator[ast.stmt]:
        """The statement of a run, and where it hands a function on, those that run that."""
        yield self.tree.statement(run.call)
        if run.given is not None:
            yield from map(self.tree.statement, run.use.transformed.runs)

    def _handed_in_file(self, definition: Definition) -> str:
        """The line in which the file takes a function as a value, which is not followed."""
        is_method = isinstance(self.tree.parents.get(definition), ast.ClassDef)
        for use in self.tree.occurrences(definition.name):
            if isinstance(definition, Function) and is_handed_around(self.tree, use):
                if isinstance(use, ast.Attribute if is_method else ast.Name):
                    return f"line {use.lineno}"
        return ""

    def _is_visible(self, module: ast.expr, statement: ast.stmt) -> bool:
        """Whether an expression names the same object at a statement as where it stands."""
        root: ast.expr = module
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            if isinstance(root, ast.Subscript) and not isinstance(root.slice, ast.Constant):
                return False
            root = root.value
        if not isinstance(root, ast.Name):
            return False
        there = self.scopes.binding_scope(root.id, self.scopes.scope_of(root))
        here = self.scopes.binding_scope(root.id, self.scopes.scope_of(statement))
        if there is here:
            return here is not None
        # Methods of one class call the same module their self.
        owners = [self.tree.parents.get(scope) for scope in (there, here) if scope is not None]
        return (
            root.id == "self"
            and len(owners) == 2
            and isinstance(owners[0], ast.ClassDef)
            and owners[0] is owners[1]
        )

    def are_in_eval_mode(self, site: Site) -> bool:
        return all(self._is_in_eval_mode(text, site.statement) for text in site.by_text)

    def _is_in_eval_mode(self, text: str, statement: ast.stmt) -> bool:
        """Whether a module is surely in eval mode where a statement runs."""
        for above in self.tree.ancestors(statement):
            if isinstance(above, (ast.With, ast.AsyncWith)):
                held = (item.context_expr for item in above.items)
                if any(sets_eval_mode(self.context.names, each, text) for each in held):
                    return True
        return self._last_mode(text, statement).mode is Mode.EVAL

    def _last_mode(self, text: str, statement: ast.stmt) -> Said:
        """What the code above a statement, or above its callers, says last of a module's mode."""
        return last_mode(self.context.names, text, statement)


def _may_run(call: ast.Call, text: str) -> bool:
    """Whether a call runs a module, by a method or as a whole, or hands it to a function."""
    called = ast.unparse(call.func)
    if called == text or text.startswith(f"{called}."):
        return True
    if called.startswith(f"{text}.") and "." not in called.removeprefix(f"{text}."):
        return not _READS.search(called)
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    return called not in _HARMLESS and any(ast.unparse(value) == text for value in given)
