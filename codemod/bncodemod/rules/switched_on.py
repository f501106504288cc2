"""``track_running_stats`` is switched on where it is not seen which norm is built.

The class may come from a table, a function of another file, a module of configuration: a rewrite at
the place where it enters, which every other rule prefers, is undone by a call that says otherwise.
So whatever spells the flag, with a value that is not known to be False, is reported if no other
rule has dealt with it.

Before:
    OPTIONS = {"eps": 1e-3, "track_running_stats": True}
    norm = get_norm("bn")(64, track_running_stats=True)

Not reported is a flag whose use is seen: handed to a function that has a parameter of its name,
which is looked at in its turn, or copied from the module that is built anew.

Under group-norm no class of the code swept keeps running statistics, whatever it is told. Reported
is what the flag of a call may do in other libraries.

By hand: set the flag to False. If what it is given to builds no norm, suppress the finding with a
comment.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial

from bncodemod.catalog.torch import FLAG, OTHER_FRAMEWORKS
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.flag import (
    callees,
    calls_with_flag,
    handed_to,
    may_be_on,
    sees_to_flag,
    spread,
)
from bncodemod.scan.names import Meaning
from bncodemod.scan.scopes import Function
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Open

rule = Rule("BN206", "flag switched on", priority=30)

_REMEDY = f"set {FLAG} to False here, unless no norm is built with it"
_MAPPINGS = frozenset({"builtins.dict", "collections.OrderedDict"})


@rule.finds
def switched_on(context: Context) -> Iterator[Match]:
    """Every place that spells the flag, may switch it on and is not dealt with elsewhere."""
    if FLAG not in context.tree.source.text:
        return
    yield from _keywords(context)
    if context.keeps_batch_norm:
        yield from _strings(context)
        yield from _reads(context)
        yield from _attributes(context)


def _keywords(context: Context) -> Iterator[Match]:
    """``f(track_running_stats=True)``, a dict among them."""
    names = context.names
    for call, value in calls_with_flag(names):
        if not may_be_on(names, value) or _is_copied(call, value):
            continue
        if names.qualified(call.func) in _MAPPINGS or _is_update(call):
            mapping = call.func.value if isinstance(call.func, ast.Attribute) else call
            if context.keeps_batch_norm and not _is_overruled(context, mapping):
                yield Match(call, partial(_open, "in a mapping that may reach a norm"))
        elif any(_may_build_norm(context, callee) for callee in callees(names, call)):
            spelled = " or ".join(map(_spelled, callees(names, call)))
            yield Match(call, partial(_open, f"for {spelled}, which may build a norm with it"))


def _strings(context: Context) -> Iterator[Match]:
    """``{"track_running_stats": True}``, ``kwargs["track_running_stats"] = True`` and the like."""
    context.tree.occurrences(FLAG)  # walks the statements that spell it, in strings too
    for key in context.tree.of_type(ast.Constant):
        if key.value != FLAG:
            continue
        above = context.tree.parent(key)
        value, mapping = _entry(context, key, above)
        if value is None or not may_be_on(context.names, value):
            continue
        if mapping is None or not _is_overruled(context, mapping):
            node = above if isinstance(above, ast.expr) else key
            if not _is_inside_claimed(context, node):
                yield Match(node, partial(_open, "in a mapping or argument that may reach a norm"))


def _entry(
    context: Context, key: ast.Constant, above: ast.AST
) -> tuple[ast.expr | None, ast.expr | None]:
    """The value that stands beside the flag's name, and the mapping that holds both."""
    if isinstance(above, ast.Dict) and key in above.keys:
        index = above.keys.index(key)
        later = [k.value for k in above.keys[index + 1 :] if isinstance(k, ast.Constant)]
        return (None if FLAG in later else above.values[index]), above
    if isinstance(above, ast.Subscript):
        statement = context.tree.parent(above)
        is_target = isinstance(statement, ast.Assign) and above in statement.targets
        return (statement.value if is_target else None), above.value  # type: ignore[attr-defined]
    if isinstance(above, ast.Call):
        items: list[ast.expr] = above.args
        mapping = above.func.value if isinstance(above.func, ast.Attribute) else None
    elif isinstance(above, (ast.Tuple, ast.List)):
        items, mapping = above.elts, None
    else:
        return None, None
    behind = items[items.index(key) + 1 :] if key in items else []
    return (behind[0] if behind else None), mapping


def _reads(context: Context) -> Iterator[Match]:
    """``norm(c, 1e-5, 0.1, True, self.track_running_stats)``: the flag by another name."""
    for node in context.tree.occurrences(FLAG):
        if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
            continue
        above = context.tree.parent(node)
        is_renamed = isinstance(above, ast.keyword) and above.arg != FLAG
        call = context.tree.parent(above) if is_renamed else above
        if not isinstance(call, ast.Call) or node is call.func or call.args[:1] == [node]:
            continue
        meanings = context.names.meanings(call.func)
        known = any(m.qualified or m.definition for m in meanings) or _methods(context, call.func)
        asserts = "assert" in _spelled(call.func)
        if not known and not asserts and may_be_on(context.names, node):
            if not _is_copied(call, node):
                callee = _spelled(call.func)
                yield Match(call, partial(_open, f"for {callee}, which may build a norm with it"))


def _attributes(context: Context) -> Iterator[Match]:
    """``module.track_running_stats = True``, and the attribute of a class."""
    for node in context.tree.occurrences(FLAG):
        if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Store):
            continue
        statement = context.tree.parent(node)
        value = getattr(statement, "value", None)
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or value is None:
            continue
        if isinstance(node, ast.Name) and not _is_class_attribute(context, node):
            continue
        # Handed on under its own name, it was switched on where it came from.
        if not _is_flag(value) and may_be_on(context.names, value):
            yield Match(statement, partial(_open, "as an attribute, where a norm may read it"))


def _is_class_attribute(context: Context, node: ast.Name) -> bool:
    """Whether a name is an attribute of a class that is no norm: norms set it when built."""
    owner = context.names.scopes.binding_target_scope(node)
    if not isinstance(owner, ast.ClassDef):
        return False
    index = context.names.index
    return not any(
        context.names.norms(base) or context.names.qualified(base) in index.handled
        for base in owner.bases
    )


def _is_flag(value: ast.expr) -> bool:
    """Whether a value is read from something of the flag's name."""
    return FLAG in (getattr(value, "id", None), getattr(value, "attr", None))


def _is_copied(call: ast.Call, value: ast.expr) -> bool:
    """Whether the flag comes from the module whose number of channels the call takes as well."""
    if not isinstance(value, ast.Attribute) or value.attr != FLAG:
        return False
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "num_features"
        and ast.dump(node.value) == ast.dump(value.value)
        for node in ast.walk(call)
    )


def _is_update(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "update"


def _may_build_norm(context: Context, callee: ast.expr) -> bool:
    """Whether what takes the flag may build a norm with it where that is not seen."""
    if not context.keeps_batch_norm:
        return _is_of_a_library(context, callee)
    if context.names.norms(callee):
        return False  # what it is decided where it comes from, or the call is a site
    methods = _methods(context, callee)
    if methods:
        return not all(sees_to_flag(context.names, method) for method in methods)
    return any(_is_open_to_flag(context, meaning) for meaning in context.names.meanings(callee))


def _is_open_to_flag(context: Context, meaning: Meaning) -> bool:
    """Whether one thing that a callee may stand for is not known to see to the flag itself."""
    names = context.names
    if meaning.definition is not None:
        return not sees_to_flag(names, meaning.definition)
    if meaning.qualified.partition(".")[0] in OTHER_FRAMEWORKS:
        return False
    beyond = names.index.beyond.get(handed_to(meaning.qualified))
    return beyond is None or not beyond.sees_to_flag


def _methods(context: Context, callee: ast.expr) -> list[ast.AST]:
    """The methods of this file that ``object.name`` may be, of an object that is not known."""
    if not isinstance(callee, ast.Attribute) or context.names.qualified(callee):
        return []
    return [n for n in context.tree.occurrences(callee.attr) if isinstance(n, Function)]


def _is_of_a_library(context: Context, callee: ast.expr) -> bool:
    """Whether a callee comes from outside the project, by an absolute import."""
    qualified = context.names.qualified(callee)
    index = context.names.index
    own = (
        qualified in index.names or index.is_own(qualified) or handed_to(qualified) in index.beyond
    )
    root = qualified.partition(".")[0]
    return bool(root) and not own and root not in ("builtins", "torch", *OTHER_FRAMEWORKS)


def _is_overruled(context: Context, mapping: ast.expr) -> bool:
    """Whether a mapping is handed by ``**`` to calls alone that other rules have dealt with."""
    if isinstance(mapping, ast.Name):
        variables = [b.node for b in context.names.scopes.reaching(mapping) or ()]
    else:
        variables = _variables(context, mapping)
    if not variables:
        return _ends_off(context, mapping)
    return all(_is_used_safely(context, variable) for variable in variables)


def _variables(context: Context, value: ast.expr) -> list[ast.AST]:
    """The targets that a value is assigned to, or the parameter whose default it is."""
    above = context.tree.parent(value)
    while isinstance(above, (ast.BoolOp, ast.IfExp)):
        value, above = above, context.tree.parent(above)
    if isinstance(above, ast.Assign):
        return list(above.targets)
    if isinstance(above, ast.AnnAssign):
        return [above.target]
    if isinstance(above, ast.arguments):
        parameters = (*above.posonlyargs, *above.args, *above.kwonlyargs)
        return [a for a in parameters if context.names.scopes.default(a) is value]
    return []


def _is_used_safely(context: Context, variable: ast.AST) -> bool:
    """Whether a variable is read, and goes by ``**`` to calls that are dealt with only."""
    if not isinstance(variable, (ast.Name, ast.arg)):
        return False
    name = variable.arg if isinstance(variable, ast.arg) else variable.id
    scope = context.names.scopes.binding_target_scope(variable)
    within = scope if isinstance(scope, Function) else None
    uses = [
        use
        for use in context.tree.occurrences(name, within)
        if isinstance(use, ast.Name)
        and isinstance(use.ctx, ast.Load)
        and any(b.node is variable for b in context.names.scopes.reaching(use) or ())
        and not isinstance(context.tree.parent(use), (ast.Subscript, ast.Attribute, ast.Compare))
    ]
    return bool(uses) and all(_ends_off(context, use) for use in uses)


def _ends_off(context: Context, mapping: ast.expr) -> bool:
    """Whether a mapping goes by ``**`` to a call that is dealt with, or False overrules it."""
    outer = spread(context.names, mapping)
    if isinstance(outer, ast.Dict) and outer is not mapping:
        entries = zip(outer.keys, outer.values, strict=True)
        if any(
            isinstance(key, ast.Constant)
            and key.value == FLAG
            and not may_be_on(context.names, value)
            for key, value in entries
        ):
            return True
    keyword = context.tree.parent(outer)
    return isinstance(keyword, ast.keyword) and context.tree.parent(keyword) in context.claimed


def _is_inside_claimed(context: Context, node: ast.expr) -> bool:
    """Whether an expression is an argument of a call that another rule has dealt with."""
    above = context.tree.parent(node)
    if isinstance(above, ast.keyword):
        above = context.tree.parent(above)
    return isinstance(above, ast.Call) and above in context.claimed


def _spelled(callee: ast.expr) -> str:
    """How a callee is spelled, without what a rewrite may change in it."""
    if isinstance(callee, ast.Call):
        return f"{_spelled(callee.func)}(…)"
    if isinstance(callee, ast.Subscript):
        return f"{_spelled(callee.value)}[…]"
    if isinstance(callee, ast.Attribute):
        return f"{_spelled(callee.value)}.{callee.attr}"
    return callee.id if isinstance(callee, ast.Name) else "…"


def _open(where: str) -> Open:
    return Open(f"{FLAG} may be switched on {where}", _REMEDY)
