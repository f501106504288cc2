"""Whether all that a file does with a model works under vmap as it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.scan.callers import is_handed_around
from bncodemod.scan.class_tests import class_tests, is_negative
from bncodemod.scan.model_places import CHAIN, METHODS, Place, holder_of, kept_in, modules_of
from bncodemod.scan.norm_freezing import Freeze, frozen_model
from bncodemod.scan.scopes import BindingKind, Function
from bncodemod.scan.weights import holders
from bncodemod.strategies.context import Context
from bncodemod.strategies.ensemble import is_ensemble
from bncodemod.strategies.model_scope import Scope

_ANY = "_BatchNorm"  # the base of all that are batch norms
_TRANSFORMS = ("torch.func.", "torch.vmap", "functorch.")
_HARMLESS_CALLS = ("builtins.len", "builtins.print", "builtins.enumerate", "builtins.zip")


def safe_use(context: Context, node: ast.AST) -> str:
    """Why the model that a site builds, or is part of, needs no change; empty if it may."""
    if not isinstance(node, ast.expr):
        return ""
    built = list(_outermost(context, node, set()))
    norms = _norms_at(context, node)
    reasons = [_reason(context, expression, norms) if expression else "" for expression in built]
    return reasons[0] if built and all(reasons) else ""


def places_of(context: Context, node: ast.AST) -> Iterator[Place]:
    """Where the models are kept that a site builds, or is part of."""
    for expression in _outermost(context, node, set()) if isinstance(node, ast.expr) else ():
        if expression is not None:
            place = kept_in(context.names, holder_of(context.names, expression))
            if place is not None:
                yield place


def runs_under_no_transform(context: Context, node: ast.expr) -> bool:
    """Whether the model that an expression builds stays where it is built, and vmap does as well.

    It is kept in a variable, which is called and whose attributes are read, and neither the code
    around nor what is handed a part of the model is run by a transform.
    """
    holder = holder_of(context.names, node)
    place = kept_in(context.names, holder)
    if place is None or "." in place.target:
        return False
    use = _Use(context, place, holder)
    return not use.escapes() and not use.is_transformed()


def stays_in_file(context: Context, node: ast.expr) -> bool:
    """Whether no other file runs the model that an expression builds under a transform."""
    uses = context.names.index.uses
    if uses.is_known:
        return holders(context.names, node).keys().isdisjoint(uses.transformed)
    holder = holder_of(context.names, node)
    place = kept_in(context.names, holder)
    if place is None or "." in place.target:
        return False
    return not _Use(context, place, holder).leaves()


def freeze_of(context: Context, node: ast.AST) -> Freeze | None:
    """A call that freezes norms in eval mode, and may freeze those of the model around a site."""
    if not context.freezes:
        return None
    built = list(_outermost(context, node, set())) if isinstance(node, ast.expr) else []
    return next((f for f in context.freezes if _may_freeze(context, f, built)), None)


def _may_freeze(context: Context, freeze: Freeze, built: list[ast.expr | None]) -> bool:
    """Whether a freeze may be of the models: not of those that are kept in other variables."""
    names = context.names
    root = frozen_model(names, freeze).partition(".")[0]
    scope = names.scopes.binding_scope(root, names.scopes.scope_of(freeze.call)) if root else None
    is_given = scope is None or any(
        b.kind is BindingKind.PARAMETER for b in names.scopes.bindings(scope, root)
    )
    if not built or (is_given and not _is_in_called_function(context, freeze.call)):
        return True
    for expression in built:
        holder = holder_of(names, expression) if expression is not None else None
        place = kept_in(names, holder) if holder is not None else None
        if holder is None or place is None or "." in place.target:
            return True
        use = _Use(context, place, holder)
        is_this = not is_given and use.scope.scope is scope and root in use.scope.targets
        if is_this or use.escapes():
            return True
    return False


def _is_in_called_function(context: Context, node: ast.AST) -> bool:
    """Whether a node is in a function that is called only: it knows what calls hand to it."""
    tree = context.tree
    around = next((a for a in tree.ancestors(node) if isinstance(a, Function)), None)
    return (
        isinstance(around, Function)
        and not isinstance(tree.parents.get(around), ast.ClassDef)
        and not any(is_handed_around(tree, use) for use in tree.occurrences(around.name))
    )


def _outermost(context: Context, node: ast.expr, seen: set[ast.AST]) -> Iterator[ast.expr | None]:
    """The expressions that build what holds a site: of its class, of the class that builds that.

    None where a class is used in another way than by being called, or where another file may build
    it: who imports a file that builds its models at once, in no function, runs them as well.
    """
    owner = next((a for a in context.tree.ancestors(node) if isinstance(a, ast.ClassDef)), None)
    if owner is None:
        yield node
        return
    if owner in seen:
        yield None
        return
    is_shared = context.names.scopes.scope_of(owner) is context.tree.module
    seen.add(owner)
    uses = [
        use
        for use in context.tree.occurrences(owner.name)
        if isinstance(use, ast.Name) and isinstance(use.ctx, ast.Load)
    ]
    if not uses or owner.decorator_list:
        yield None
    for use in uses:
        call = context.tree.parents.get(use)
        if isinstance(call, ast.Call) and call.func is use:
            for outer in _outermost(context, call, seen):
                yield outer if outer and not (is_shared and _is_guarded(context, outer)) else None
        elif not (isinstance(call, ast.Call) and ast.unparse(call.func) == "super"):
            yield None


def _is_guarded(context: Context, node: ast.expr) -> bool:
    """Whether an import of the file may pass a place by: it is in a function, or in the guard."""
    if context.names.scopes.scope_of(context.tree.statement(node)) is not context.tree.module:
        return True
    tests = (a.test for a in context.tree.ancestors(node) if isinstance(a, ast.If))
    return any("__name__" in ast.unparse(test) for test in tests)


def _reason(context: Context, node: ast.expr, norms: frozenset[str]) -> str:
    holder = holder_of(context.names, node)
    place = kept_in(context.names, holder)
    if place is None or "." in place.target:
        return ""
    use = _Use(context, place, holder)
    if not use.escapes() and is_ensemble(context.names, list(use.reads())):
        return "its buffers are stacked with its parameters, and vmap maps over both"
    if use.escapes():
        return ""
    if not use.trains() and use.is_put_into_eval_mode():
        return "it is used in eval mode only"
    return "its batch norms are frozen in eval mode" if use.is_frozen(norms) else ""


def _norms_at(context: Context, node: ast.AST) -> frozenset[str]:
    """The classes of the norms that an expression names; none where it builds them unseen."""
    within = set(ast.walk(node))
    named = (mention.norm for mention in context.mentions if mention.node in within)
    return frozenset(norm.name.removeprefix("Lazy") for norm in named)


def _may_pass_by(loop: ast.AST) -> bool:
    """Whether a loop may leave out some of what it goes over."""
    return any(isinstance(node, (ast.Break, ast.Continue, ast.Return)) for node in ast.walk(loop))


class _Use:
    """What a file does with the model or models that one variable keeps."""

    def __init__(self, context: Context, place: Place, value: ast.expr) -> None:
        self.context = context
        self.tree = context.tree
        self.names = context.names
        self.place = place
        self.value = value
        self.scope = Scope(context.names, place)

    def reads(self) -> Iterator[ast.Name]:
        """Every read of the model's variables, in whatever function of the file."""
        for target in self.scope.targets:
            for node in self.tree.occurrences(target):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                    scopes = self.names.scopes
                    if scopes.binding_scope(target, scopes.scope_of(node)) is self.scope.scope:
                        yield node

    def trains(self) -> bool:
        """Whether something in the file puts a module into train mode."""
        return any(True for _ in self._trainings())

    def _trainings(self) -> Iterator[ast.AST]:
        """What puts a module of the file into train mode, and methods ``train``."""
        for node in self.tree.occurrences("train"):
            call = self.tree.parents.get(node)
            if isinstance(node, Function):
                yield node
            elif isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                if [ast.unparse(argument) for argument in call.args] != ["False"]:
                    yield call
        for node in self.tree.occurrences("training"):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                value = getattr(self.tree.parents[node], "value", node)
                if ast.unparse(value) != "False" and not self._restores(node):
                    yield node

    def _is_undone_by(self, training: ast.AST, loop: ast.AST) -> bool:
        """Whether a loop that freezes norms surely runs behind what puts them into train mode."""
        loops = (ast.For, ast.AsyncFor, ast.While)
        return (
            self.names.scopes.scope_of(training) is self.scope.scope
            and not isinstance(training, Function)
            and training.lineno < loop.lineno  # type: ignore[attr-defined]
            and not any(isinstance(above, loops) for above in self.tree.ancestors(loop))
        )

    def _restores(self, node: ast.AST) -> bool:
        """Whether it stands in a ``finally``: a mode is put back, as by the helper of eval-mode."""
        below = node
        for above in self.tree.ancestors(node):
            if isinstance(above, ast.Try) and below in above.finalbody:
                return True
            below = above
        return False

    def escapes(self) -> bool:
        """Whether the model goes where it may be trained: it is returned, stored or handed on."""
        return any(not self._stays(node) for node in self.reads())

    def is_transformed(self) -> bool:
        """Whether a transform may run the model: it is given to one, or read in what one runs."""
        modules = self.context.called_modules
        outermost = modules.transforms.outermost()
        run = {f for t in outermost for f in modules.of(t.function).functions}
        for node in self.reads():
            part: ast.AST = node
            while isinstance(self.tree.parents.get(part), ast.Attribute):
                part = self.tree.parents[part]
            call = self.tree.parents.get(part)
            if isinstance(call, ast.Call) and call.func is not part:
                return True
            around = {*self.tree.ancestors(node)}
            if run & around or any(isinstance(above, ast.Lambda) for above in around):
                return True
        return False

    def leaves(self) -> bool:
        """Whether the model goes where it is not seen: out of the functions of this file."""
        return any(not self._stays(node) and not self._is_handed(node) for node in self.reads())

    def _is_handed(self, node: ast.Name) -> bool:
        """Whether a variable is an argument of a function of the file."""
        call = self.tree.parents.get(node)
        return isinstance(call, ast.Call) and any(
            isinstance(meaning.definition, Function) for meaning in self.names.meanings(call.func)
        )

    def _stays(self, node: ast.Name) -> bool:
        above = self.tree.parents.get(node)
        if isinstance(above, ast.Attribute):
            return self._gives_a_part(above)
        if isinstance(above, ast.Subscript):
            return above.value is node
        if isinstance(above, (ast.For, ast.comprehension)):
            return above.iter is node
        if isinstance(above, ast.Assign):
            return self._is_kept(node)
        if not isinstance(above, ast.Call):
            return False
        callee = self.names.qualified(above.func)
        return above.func is node or callee.startswith((*_TRANSFORMS, *_HARMLESS_CALLS))

    def _is_kept(self, node: ast.expr) -> bool:
        """Whether an expression is assigned to a variable, as it is."""
        place = kept_in(self.names, node)
        return place is not None and "." not in place.target

    def _gives_a_part(self, attribute: ast.Attribute) -> bool:
        """Whether an attribute is not the model itself, which a method of it gives back.

        What is made of the model so may be dropped, or kept in a variable of the model.
        """
        call = self.tree.parents.get(attribute)
        if attribute.attr not in CHAIN or not isinstance(call, ast.Call):
            return attribute.attr not in CHAIN
        above = self.tree.parents.get(call)
        if isinstance(above, ast.Expr) or self._is_kept(call):
            return True
        if isinstance(above, ast.Attribute):
            return self._gives_a_part(above)
        return isinstance(above, ast.Call) and above.func is call  # it is called at once

    def is_put_into_eval_mode(self) -> bool:
        """Whether the model is put into eval mode where it is built, or before all that runs it."""
        if self._chain()[-1:] == ["eval"]:
            return True
        return any(
            isinstance(call, ast.Call)
            and isinstance(node, ast.Attribute)
            and ast.unparse(node.value) in self.scope.targets
            and self._is_before_runs(call)
            for node in self.tree.occurrences("eval")
            for call in [self.tree.parents.get(node)]
        )

    def _is_before_runs(self, change: ast.AST) -> bool:
        """Whether a change of the model surely stands between its building and all that runs it."""
        if not self.scope.is_later(change) or not self.scope.always(change):
            return False
        last = self.tree.statement(change).end_lineno or 0
        return all(node.lineno > last for node in self.reads() if self._may_run(node, change))

    def _may_run(self, node: ast.Name, change: ast.AST) -> bool:
        """Whether a read of the model may run it, where that is not part of the change itself."""
        above = self.tree.parents.get(node)
        if change in self.tree.ancestors(node):
            return False
        if isinstance(above, ast.Attribute):
            return above.attr not in CHAIN | METHODS
        return isinstance(above, ast.Call)

    def _chain(self) -> list[str]:
        """The methods called where the model is built that change its mode, in their order."""
        found: list[str] = []
        node = self.value
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr not in CHAIN:
                break
            if node.func.attr in ("eval", "train"):
                found.insert(0, node.func.attr)
            node = node.func.value
        return found

    def is_frozen(self, norms: frozenset[str]) -> bool:
        """Whether a loop over the model's modules puts its norms into eval mode before it runs.

        Where the ``norms`` are not known, all classes of batch norm are to be.
        """
        for test in class_tests(self.names, self.context.mentions):
            tested = {mention.norm.name for mention in test.mentions}
            branch = self._branch(test.node)
            loop = self.tree.parents.get(branch) if branch is not None else None
            if branch is None or loop is None or modules_of(loop) not in self.scope.targets:
                continue
            covered = _ANY in tested or (bool(norms) and norms <= tested)
            if not all(self._is_undone_by(node, loop) for node in self._trainings()):
                continue
            if covered and not _may_pass_by(loop) and self._is_before_runs(loop):
                if any(self._is_run_in(use, branch) for use in test.uses or ()):
                    return True
        return False

    def _branch(self, test: ast.AST) -> ast.If | None:
        """The statement that a test alone decides on: what it is true for goes into its body."""
        above = self.tree.parents.get(test)
        while isinstance(above, ast.BoolOp) and isinstance(above.op, ast.Or):
            above = self.tree.parents.get(above)
        return above if isinstance(above, ast.If) and not is_negative(test) else None

    def _is_run_in(self, use: ast.Attribute, branch: ast.If) -> bool:
        """Whether ``m.eval()`` is a statement of the branch itself."""
        call = self.tree.parents.get(use)
        statement = self.tree.statement(use)
        return use.attr == "eval" and isinstance(call, ast.Call) and statement in branch.body
