"""Signs that code trains a model: there, eval mode would change what is learnt."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from bncodemod.scan.callers import calls_of
from bncodemod.scan.libraries import argument
from bncodemod.scan.literals import is_none
from bncodemod.scan.names import Names
from bncodemod.scan.results import is_only_looked_at
from bncodemod.scan.scopes import Function

_TRAINING_NAME = re.compile(
    r"^_*(?:train|fit|finetune|pretrain|adapt|learn|update)(?:_|$)"
    r"|(?:^|_)(?:train|training(?=_)|loss|objective)(?:_(?:step|epoch|loop|batch|fn|function))?$"
)
_LOSS_NAME = re.compile(r"(?:^|_)loss(?:es)?(?:_|\d|$)|criterion|cross_entropy|(?:^|_)nll(?:_|$)")
_LOSS_CLASS = re.compile(r"[a-z]Loss$")
_OPTIMIZER = re.compile(r"optim|(?:^|[_\W])opts?(?:[_\W\d]|$)", re.IGNORECASE)
# What has a method ``step`` that trains nothing.
_STEPS_ELSE = re.compile(
    r"sched|lr_|_lr|anneal|warm_?up|env|prof|sim|game|world|agent|timer|bar$|swa|ema", re.IGNORECASE
)
_PARAMETERS = re.compile(r"param|weight", re.IGNORECASE)
_NO_GRAD = frozenset({"torch.no_grad", "torch.inference_mode", "torch.autograd.no_grad"})
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def sign_of_training(
    names: Names, statement: ast.stmt, functions: list[ast.AST]
) -> tuple[str, int] | None:
    """What says that a statement is part of a training, and its line.

    Looked at are the functions around the statement, without loops that it does not stand in, the
    ``functions`` that it runs, and the statements of the file that call the functions around it.
    What gradients cannot reach trains nothing, nor does what is only looked at.
    """
    todo = [statement]
    seen: set[ast.AST] = set()
    while todo:
        statement = todo.pop()
        if statement in seen or _without_gradients(names, statement):
            continue
        seen.add(statement)
        sign = _sign_in(names, functions)
        functions = []
        if not sign and is_only_looked_at(names, statement):
            continue
        sign = sign or _sign_around(names, statement)
        if sign:
            return sign
        todo += _callers(names, statement)
    return None


def any_training(names: Names) -> tuple[str, int] | None:
    """What says that a file trains at all, by gradients or an optimizer, and its line."""
    calls = (n for n in names.tree.walk_below(names.tree.module) if isinstance(n, ast.Call))
    found = ((_sign_of_call(names, call), call.lineno) for call in calls)
    return next((sign for sign in found if sign[0]), None)


def _callers(names: Names, statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statements that call the functions around a statement."""
    for around in names.tree.ancestors(statement):
        if isinstance(around, Function):
            yield from map(names.tree.statement, calls_of(names.tree, around))


def _sign_in(names: Names, functions: list[ast.AST]) -> tuple[str, int] | None:
    for function in functions:
        for node in names.tree.walk_below(function):
            sign = _sign(names, node)
            if sign:
                return sign, node.lineno  # type: ignore[attr-defined]
    return None


def _sign_around(names: Names, statement: ast.stmt) -> tuple[str, int] | None:
    for around in names.tree.ancestors(statement):
        if isinstance(around, Function):
            if around.name in ("forward", "__call__") and _is_method(names, around):
                return f"{around.name} runs in training as well", around.lineno
            if _TRAINING_NAME.search(around.name):
                return f"{around.name} is for training by its name", around.lineno
        if isinstance(around, (ast.Module, *Function)):
            for node in _straight(around, statement, names):
                sign = _sign(names, node)
                if sign:
                    return sign, node.lineno  # type: ignore[attr-defined]
    return None


def _straight(scope: ast.AST, statement: ast.stmt, names: Names) -> Iterator[ast.AST]:
    """The nodes of a scope, without loops, and for a module functions, that do not hold a node."""
    names.tree.expand(scope)
    around = {*names.tree.ancestors(statement), statement}
    skipped = (*_LOOPS, ast.ClassDef, *Function) if isinstance(scope, ast.Module) else _LOOPS
    pending = list(ast.iter_child_nodes(scope))
    while pending:
        node = pending.pop()
        if isinstance(node, skipped) and node not in around:
            continue
        yield node
        pending.extend(ast.iter_child_nodes(node))


def _sign(names: Names, node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        sign = _sign_of_call(names, node)
        if sign:
            return sign
    if isinstance(node, ast.Attribute) and node.attr == "grad" and isinstance(node.ctx, ast.Store):
        value = getattr(names.tree.parents.get(node), "value", None)
        if not is_none(value):
            return f"{ast.unparse(node)} is assigned"
    name = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "name", None)
    if isinstance(node, (ast.Name, ast.Attribute, *Function)) and isinstance(name, str):
        if _LOSS_NAME.search(name) or _LOSS_CLASS.search(name):
            return f"{name} stands for a loss"
    return ""


def _sign_of_call(names: Names, call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        owner, method = ast.unparse(call.func.value), call.func.attr
        if method == "backward":
            return "backward is called"
        if method == "zero_grad" and _OPTIMIZER.search(owner):
            return f"{owner}.zero_grad is called"
        if method == "step" and _steps(owner, [ast.unparse(value) for value in call.args]):
            return f"{owner}.step is called"
    if names.qualified(call.func) == "torch.autograd.grad":
        inputs = argument(call, "inputs", 1)
        if inputs is not None and _PARAMETERS.search(ast.unparse(inputs)):
            return "gradients of parameters are taken"
    return ""


def _steps(owner: str, given: list[str]) -> bool:
    """Whether ``owner.step(given)`` seems to be the step of an optimizer."""
    if any(_OPTIMIZER.search(text) for text in (owner, *given)):
        return not re.search(r"sched", owner, re.IGNORECASE)
    return not given and not _STEPS_ELSE.search(owner.rpartition(".")[2])


def _without_gradients(names: Names, statement: ast.stmt) -> bool:
    """Whether a statement runs under ``torch.no_grad`` or ``torch.inference_mode``."""
    for above in names.tree.ancestors(statement):
        held: list[ast.expr] = []
        if isinstance(above, (ast.With, ast.AsyncWith)):
            held = [item.context_expr for item in above.items]
        elif isinstance(above, Function):
            held = above.decorator_list
        for expression in held:
            called = expression.func if isinstance(expression, ast.Call) else expression
            if names.qualified(called) in _NO_GRAD:
                return True
    return False


def _is_method(names: Names, function: ast.AST) -> bool:
    return isinstance(names.tree.parents.get(function), ast.ClassDef)
