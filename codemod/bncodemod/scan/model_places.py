"""Where an expression that gives a model leaves it: in variables, lists, modules around it."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from bncodemod.scan.names import Names
from bncodemod.scan.scopes import Function
from bncodemod.source.dotted_names import dotted

# Methods of a module that give the module back.
CHAIN = frozenset(
    {
        "apply",
        "bfloat16",
        "cpu",
        "cuda",
        "double",
        "eval",
        "float",
        "half",
        "requires_grad_",
        "share_memory",
        "to",
        "train",
        "type",
        "xpu",
    }
)
# What is done with a module and nothing else.
METHODS = frozenset(
    {
        "children",
        "cuda",
        "eval",
        "load_state_dict",
        "modules",
        "named_modules",
        "named_parameters",
        "parameters",
        "requires_grad_",
        "state_dict",
        "to",
        "train",
        "zero_grad",
    }
)
# Functions that give a copy of a module, or the module itself, compiled.
COPIES = frozenset({"copy.deepcopy", "copy.copy", "torch.compile", "torch.jit.script"})
WRAPPERS = frozenset({"torch.nn.DataParallel", "torch.nn.parallel.DataParallel"})
_HOLDERS = (
    ast.keyword,
    ast.List,
    ast.Tuple,
    ast.Dict,
    ast.Starred,
    ast.IfExp,
    ast.BoolOp,
    ast.NamedExpr,
    ast.ListComp,
    ast.GeneratorExp,
)


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a model is kept: a target such as ``self.net``, and the statement that binds it."""

    target: str
    statement: ast.stmt


def whole(names: Names, node: ast.expr) -> ast.expr:
    """The expression that is the model with the methods called on it that give it back."""
    tree = names.tree
    while True:
        above = tree.parents.get(node)
        outer = tree.parents.get(above) if above is not None else None
        if isinstance(above, ast.Attribute) and above.attr in CHAIN:
            if not isinstance(outer, ast.Call) or outer.func is not above:
                return node
            node = outer
        elif isinstance(above, ast.Call) and above.args[:1] == [node]:
            if names.qualified(above.func) not in WRAPPERS:
                return node
            node = above
        else:
            return node


def kept_in(names: Names, node: ast.expr) -> Place | None:
    """The one variable or attribute to which an expression is assigned as it is.

    What ``super().__init__(…)`` builds is kept in ``self``.
    """
    statement = names.tree.parents.get(node)
    if isinstance(statement, ast.Expr) and isinstance(node, ast.Call):
        own = _self_of(names, node)
        return Place(own, statement) if own else None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign) and statement.value is node:
        target = statement.target
    else:
        return None
    return Place(dotted(target), statement) if dotted(target) else None


def _self_of(names: Names, call: ast.Call) -> str:
    """What the object is called whose base's ``__init__`` a call calls."""
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr != "__init__":
        return ""
    above = names.tree.ancestors(call)
    method = next((a for a in above if isinstance(a, Function)), None)
    arguments = method.args.args if isinstance(method, Function) else []
    return arguments[0].arg if arguments else ""


def bound_by(names: Names, node: ast.AST) -> tuple[Place, ...]:
    """All that the statement around an expression binds: the model may be part of any of it."""
    statement = names.tree.statement(node)
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    flat = [part for target in targets for part in getattr(target, "elts", [target])]
    return tuple(Place(dotted(part), statement) for part in flat if dotted(part))


def places(names: Names, call: ast.Call) -> tuple[Place, ...]:
    """Where the model of a call is kept, or what it is kept in with others."""
    place = kept_in(names, whole(names, call))
    return (place,) if place is not None else bound_by(names, call)


def modules_of(loop: ast.AST) -> str:
    """The model over whose modules a loop goes, as source; empty if it is no such loop."""
    call = loop.iter if isinstance(loop, (ast.For, ast.AsyncFor)) else None
    over = call.func if isinstance(call, ast.Call) else None
    if isinstance(over, ast.Attribute) and over.attr in ("modules", "named_modules"):
        return ast.unparse(over.value)
    return ""


def holder_of(names: Names, node: ast.expr) -> ast.expr:
    """The largest expression around a model that holds it: chains, lists, modules of torch."""
    holder: ast.AST = node
    found = node
    for above in names.tree.ancestors(node):
        if not isinstance(above, (*_HOLDERS, ast.comprehension)):
            if not _passes(names, above, holder):
                break
        holder = above
        found = above if isinstance(above, ast.expr) else found
    return found


def _passes(names: Names, above: ast.AST, below: ast.AST) -> bool:
    """Whether a call holds a module that it is given, or a chain goes on with it."""
    if isinstance(above, ast.Attribute):
        return above.attr in CHAIN
    if not isinstance(above, ast.Call):
        return False
    if above.func is below:
        return isinstance(below, ast.Attribute)
    return names.qualified(above.func).startswith("torch.nn.")
