"""Where a file puts batch norms alone, not the model around them, into eval mode."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bncodemod.scan.class_tests import class_tests, is_negative
from bncodemod.scan.mentions import Mention
from bncodemod.scan.model_places import modules_of
from bncodemod.scan.name_tests import name_tests
from bncodemod.scan.names import Names
from bncodemod.source.calls import arguments_of
from bncodemod.source.dotted_names import root_of

_NORM_NAME = re.compile(r"(?:^|_)(?:bn|batch_?norm)s?_?\d*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Freeze:
    """A call that puts a norm into eval mode, and the test that has found it to be one, if any.

    A function of another file may do so: ``model`` is then what it is given, as source.
    """

    call: ast.Call
    test: ast.AST | None = None
    model: str = ""


def freezes_of(names: Names, mentions: list[Mention]) -> list[Freeze]:
    """The freezes of a file, each call once."""
    found: dict[ast.Call, Freeze] = {}
    for freeze in (
        *_by_class(names, mentions),
        *_by_class_name(names),
        *_by_attribute(names, mentions),
        *_by_other_file(names),
    ):
        found.setdefault(freeze.call, freeze)
    return list(found.values())


def frozen_model(names: Names, freeze: Freeze) -> str:
    """The model whose norms a freeze is for, as source; empty where that is not seen."""
    if freeze.model:
        return freeze.model
    for above in names.tree.ancestors(freeze.call):
        if model := modules_of(above):
            return model
    function = freeze.call.func
    is_part = freeze.test is None and isinstance(function, ast.Attribute)
    return ast.unparse(root_of(function)) if is_part else ""


def _by_class(names: Names, mentions: list[Mention]) -> Iterator[Freeze]:
    for test in class_tests(names, mentions):
        for use in test.uses or ():
            call = _call_for_eval_mode(names, use)
            if call is not None:
                yield Freeze(call, test.node)


def _by_class_name(names: Names) -> Iterator[Freeze]:
    """Calls in a branch that a class name leads to."""
    for test in name_tests(names.tree):
        above = names.tree.parents.get(test)
        child: ast.AST = test
        while isinstance(above, (ast.Compare, ast.BoolOp)):
            child, above = above, names.tree.parents.get(above)
        if not isinstance(above, ast.If) or child is not above.test or is_negative(child):
            continue
        for node in names.tree.walk_block(above):
            call = _call_for_eval_mode(names, node)
            if call is not None:
                yield Freeze(call, test)


def _by_attribute(names: Names, mentions: list[Mention]) -> Iterator[Freeze]:
    """``self.bn.eval()``: an attribute that the file makes a norm, or that is named as one."""
    for method in ("eval", "train"):
        for node in names.tree.occurrences(method):
            call = _call_for_eval_mode(names, node)
            part = node.value if isinstance(node, ast.Attribute) else None
            while isinstance(part, ast.Subscript):
                part = part.value
            if call is not None and isinstance(part, ast.Attribute):
                if _is_norm(names, part.attr, mentions):
                    yield Freeze(call)


def _by_other_file(names: Names) -> Iterator[Freeze]:
    """``freeze(model)``, ``model.freeze()`` and ``model.apply(freeze)`` by a function of another
    file that freezes norms."""
    for name in names.index.uses.freezing:
        for node in names.tree.occurrences(name):
            call = names.tree.parents.get(node)
            if not isinstance(call, ast.Call) or _is_defined_here(names, node):
                continue
            function = call.func
            applied = isinstance(function, ast.Attribute) and function.attr == "apply"
            if node is function or (applied and node in call.args):
                yield Freeze(call, model=_model_given(names, call))


def _is_defined_here(names: Names, node: ast.AST) -> bool:
    return isinstance(node, ast.expr) and any(
        meaning.definition is not None for meaning in names.meanings(node)
    )


def _model_given(names: Names, call: ast.Call) -> str:
    """What a call is given, or else whose method it is; of a module's function, nothing."""
    method = call.func if isinstance(call.func, ast.Attribute) else None
    if call.args and not (method and method.attr == "apply"):
        return ast.unparse(call.args[0])
    return ast.unparse(method.value) if method and not names.qualified(method) else ""


def _is_norm(names: Names, attribute: str, mentions: list[Mention]) -> bool:
    """Whether what is kept under an attribute seems to be a batch norm."""
    built = {
        value
        for node in names.tree.occurrences(attribute)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        for value in [getattr(names.tree.parents.get(node), "value", None)]
        if isinstance(value, ast.Call)
    }
    if any(m.norm.family == "batch" and names.tree.parents.get(m.node) in built for m in mentions):
        return True
    known = built and all(names.qualified(c.func).startswith("torch.nn.") for c in built)
    return not known and bool(_NORM_NAME.search(attribute))


def _call_for_eval_mode(names: Names, node: ast.AST) -> ast.Call | None:
    """The call of ``m.eval()`` or ``m.train(False)`` whose method a node is."""
    call = names.tree.call_to(node)
    if not isinstance(node, ast.Attribute) or call is None:
        return None
    given = list(map(ast.unparse, arguments_of(call)))
    is_eval = node.attr == "eval" and not given
    return call if is_eval or (node.attr == "train" and given == ["False"]) else None
