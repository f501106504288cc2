"""Whether a class that was written on top of a batch norm can stand on a GroupNorm.

It can if no line that runs needs what a batch norm without running statistics does not have: its
``track_running_stats`` is False and its buffers are None, as in the class that takes its place.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cached_property

from bncodemod.catalog.torch import FLAG, NormClass
from bncodemod.scan.construction import base_name, is_patched
from bncodemod.scan.literals import is_none
from bncodemod.scan.mentions import Mention, Role
from bncodemod.scan.scopes import Function
from bncodemod.source.dotted_names import last_name
from bncodemod.strategies.context import Context
from bncodemod.strategies.functional import (
    BUFFERS,
    dropped_arguments,
    functional_norms,
    hands_on_by_flag,
    is_below,
    is_instance_norm,
)

# What torch's batch norms have and a GroupNorm in their place does not.
LACKS = frozenset(
    {
        "reset_running_stats",
        "process_group",
        "convert_sync_batchnorm",
        "_check_non_zero_input_channels",
        "_specify_ddp_gpu_num",
        "ddp_gpu_size",
    }
)
# What a batch norm and a GroupNorm both have, so that a call by the class's name goes over.
_SHARED = frozenset(
    {
        "__init__",
        "__new__",
        "__repr__",
        "_check_input_dim",
        "_load_from_state_dict",
        "extra_repr",
        "forward",
        "reset_parameters",
    }
)
_NORM_WORD = re.compile(r"norm|bn", re.IGNORECASE)


def super_calls(within: ast.AST, base: ast.expr) -> list[tuple[ast.Call, int]]:
    """The calls of the base's ``__init__``, each with how many arguments are not the norm's."""
    return [
        (node, skip)
        for node in ast.walk(within)
        if isinstance(node, ast.Call)
        for skip in [_super_arguments(node, base)]
        if skip is not None
    ]


def _super_arguments(call: ast.Call, base: ast.expr) -> int | None:
    """How many arguments of ``super().__init__(…)`` or ``Base.__init__(self, …)`` to leave out."""
    func = call.func
    if not isinstance(func, ast.Attribute) or func.attr != "__init__":
        return None
    if isinstance(func.value, ast.Call) and isinstance(func.value.func, ast.Name):
        return 0 if func.value.func.id == "super" else None
    return 1 if ast.dump(func.value) == ast.dump(base) else None


class BatchNormClass:
    """A class derived from a batch norm, with the classes of the file that derive from it."""

    def __init__(
        self, context: Context, owner: ast.ClassDef, base: ast.expr, norm: NormClass
    ) -> None:
        self.context = context
        self.owner = owner
        self.base = base
        self.norm = norm

    @cached_property
    def family(self) -> list[ast.ClassDef]:
        """The class and all that derive from it in the file."""
        tree = self.context.tree
        tree.search_text("class ")
        found = [self.owner]
        for definition in found:  # grows by those that derive from the last found
            found += [
                other
                for other in tree.of_type(ast.ClassDef)
                if other not in found and self._derives(other, definition)
            ]
        for definition in found:
            tree.expand(definition)
        return found

    @cached_property
    def functional_calls(self) -> list[ast.Call]:
        """The calls of functional norms in the classes."""
        return [
            call
            for definition in self.family
            for call, function in functional_norms(self.context, definition)
            if not is_instance_norm(call, function)
        ]

    @cached_property
    def calls_by_name(self) -> list[Mention]:
        """The mentions in ``nn.BatchNorm2d.forward(self, x)`` and the like."""
        return [
            mention
            for mention in self._mentions
            if mention.role is Role.ATTRIBUTE
            and mention.norm.family == "batch"
            and self.context.tree.parent(mention.node).attr in _SHARED  # type: ignore[attr-defined]
        ]

    @cached_property
    def inits_by_name(self) -> list[Mention]:
        """The mentions in ``nn.BatchNorm2d.__init__(self, …)``."""
        return [
            mention
            for mention in self.calls_by_name
            if self.context.tree.parent(mention.node).attr == "__init__"  # type: ignore[attr-defined]
        ]

    @cached_property
    def buffer_reads(self) -> list[ast.Attribute]:
        """Where the classes read or set buffers of their own."""
        return [
            node
            for name in sorted(BUFFERS)
            for node in self.context.tree.occurrences(name)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and self._is_inside(node)
            and node.value.id == self.self_name(node)
        ]

    def self_name(self, node: ast.AST) -> str:
        """The name that the method around a node has for the module itself."""
        for above in self.context.tree.ancestors(node):
            if isinstance(above, Function) and self.context.tree.parent(above) in self.family:
                positional = [*above.args.posonlyargs, *above.args.args]
                return positional[0].arg if positional else ""
        return ""

    def obstacles(self) -> Iterator[str]:
        """Why the class cannot stand on a GroupNorm, as predicates of it; the first is enough."""
        if is_patched(self.context.names, self.owner):
            yield "is given another __init__ later on"
        if self.norm.lazy:
            yield "learns its number of channels from its first input: there is no lazy GroupNorm"
        yield from self._foreign_bases()
        init = next(
            (s for s in self.owner.body if isinstance(s, Function) and s.name == "__init__"), None
        )
        if init is not None and not super_calls(init, self.base):
            yield "does not call super().__init__ where it can be seen"
        yield from self._named_buffers()
        for call in self.functional_calls:
            if dropped_arguments(self.context, call, self.self_name(call)) is None:
                yield f"calls {ast.unparse(call.func)} with more than its own buffers"
        yield from self._needed_buffers()
        yield from self._lacking()

    def needs_of_statistics(self) -> Iterator[str]:
        """Why the class cannot stand on a batch norm without running statistics."""
        yield from self._named_buffers()
        for definition in self.family:
            for call, function in functional_norms(self.context, definition):
                if not is_instance_norm(call, function) and not hands_on_by_flag(call, function):
                    yield f"calls {ast.unparse(call.func)} by itself"
        yield from self._needed_buffers()

    def _derives(self, definition: ast.ClassDef, from_: ast.ClassDef) -> bool:
        return any(
            meaning.definition is from_
            for base in definition.bases
            for meaning in self.context.names.meanings(base_name(base))
        )

    def _is_inside(self, node: ast.AST) -> bool:
        return any(is_below(self.context, node, definition) for definition in self.family)

    @cached_property
    def _mentions(self) -> list[Mention]:
        """The norm classes that the bodies name; not the bases."""
        return [
            mention
            for mention in self.context.mentions
            if mention.role is not Role.BASE and self._is_inside(mention.node)
        ]

    def _foreign_bases(self) -> Iterator[str]:
        """Other bases that are norms, or may be: their ``super()`` would miss batch norm."""
        names = self.context.names
        for definition in self.family:
            for base in definition.bases:
                if base is self.base:
                    continue
                meanings = names.meanings(base)
                own = [m.definition for m in meanings if isinstance(m.definition, ast.ClassDef)]
                known = own and (own[0] in self.family or not self._is_norm(own[0]))
                if names.norms(base) or (not known and _NORM_WORD.search(ast.unparse(base))):
                    yield f"derives from {ast.unparse(base)} as well"

    def _is_norm(self, definition: ast.ClassDef) -> bool:
        return any(self.context.names.norms(base) for base in definition.bases)

    def _named_buffers(self) -> Iterator[str]:
        """Buffers that are registered, or read in a way that this analysis does not follow."""
        for definition in self.family:
            for node in ast.walk(definition):
                if isinstance(node, ast.Attribute) and node.attr == "_buffers":
                    yield "reaches into its _buffers"
                if isinstance(node, ast.Constant) and node.value in BUFFERS:
                    above = self.context.tree.parent(node)
                    if isinstance(above, ast.Call) and last_name(above.func) == "register_buffer":
                        yield "registers running statistics of its own"
                    elif not isinstance(above, (ast.BinOp, ast.Compare)):
                        yield f"names {node.value} in a string"

    def _needed_buffers(self) -> Iterator[str]:
        for node in self.buffer_reads:
            if not self._copes(node):
                yield f"needs {ast.unparse(node)}, which is None without running statistics"

    def _lacking(self) -> Iterator[str]:
        for definition in self.family:
            for node in ast.walk(definition):
                if isinstance(node, ast.Attribute) and node.attr in LACKS:
                    if self._is_own(node.value):
                        yield f"uses {ast.unparse(node)}, which a GroupNorm does not have"
        for mention in self._mentions:
            above = self.context.tree.parent(mention.node)
            if isinstance(above, ast.Call) and last_name(above.func) == "super":
                yield f"starts super() from {ast.unparse(mention.node)}"

    def _is_own(self, node: ast.expr) -> bool:
        """``self``, ``cls`` or ``super()``."""
        if isinstance(node, ast.Call):
            return last_name(node.func) == "super"
        return isinstance(node, ast.Name) and node.id == self.self_name(node)

    def _copes(self, node: ast.Attribute) -> bool:
        """Whether a use of a buffer is right if the buffer is None, or never runs then."""
        above = self.context.tree.parent(node)
        if isinstance(above, ast.Compare):
            return all(is_none(side) for side in above.comparators)
        if isinstance(above, ast.Assign) and node in above.targets and is_none(above.value):
            return True
        return self._is_dropped(node) or self._is_dead(node)

    def _is_dropped(self, node: ast.AST) -> bool:
        """Whether it stands in an argument that a functional call loses."""
        return any(
            node is dropped or is_below(self.context, node, dropped)
            for call in self.functional_calls
            for dropped in dropped_arguments(self.context, call, self.self_name(call)) or ()
        )

    def _is_dead(self, node: ast.AST) -> bool:
        """Whether an expression is not evaluated without running statistics."""
        child = node
        for above in self.context.tree.ancestors(node):
            if isinstance(above, (ast.If, ast.IfExp)) and child is not above.test:
                holds = self._truth(above.test)
                body = above.body if isinstance(above, ast.If) else [above.body]
                if holds is not None and holds is not (child in body):
                    return True
            if isinstance(above, ast.BoolOp):
                stops = isinstance(above.op, ast.Or)
                earlier = above.values[: above.values.index(child)]  # type: ignore[arg-type]
                if any(self._truth(value) is stops for value in earlier):
                    return True
            if self._is_behind_return(above, child):
                return True
            if isinstance(above, (ast.ClassDef, *Function)):
                return False
            child = above
        return False

    def _is_behind_return(self, above: ast.AST, child: ast.AST) -> bool:
        """Whether an ``if`` above it in its block surely returns."""
        for block in (getattr(above, "body", None), getattr(above, "orelse", None)):
            if isinstance(block, list) and child in block:
                for statement in block[: block.index(child)]:
                    if isinstance(statement, ast.If):
                        holds = self._truth(statement.test)
                        taken = statement.body if holds else statement.orelse
                        if holds is not None and taken:
                            if isinstance(taken[-1], (ast.Return, ast.Raise)):
                                return True
        return False

    def _truth(self, test: ast.expr) -> bool | None:
        """What a test gives if ``track_running_stats`` is False and the buffers are None."""
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            value = self._truth(test.operand)
            return None if value is None else not value
        if isinstance(test, ast.BoolOp):
            stops = isinstance(test.op, ast.Or)
            values = [self._truth(value) for value in test.values]
            if stops in values:
                return stops
            return None if None in values else not stops
        if isinstance(test, ast.Attribute) and test.attr == FLAG and self._is_own(test.value):
            return None if self._sets_flag else False
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and test.left in self.buffer_reads:
            if is_none(test.comparators[0]):
                return {ast.Is: True, ast.Eq: True, ast.IsNot: False, ast.NotEq: False}.get(
                    type(test.ops[0])
                )
        return None

    @cached_property
    def _sets_flag(self) -> bool:
        """Whether the classes set ``track_running_stats`` themselves."""
        return any(
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and self._is_inside(node)
            for node in self.context.tree.occurrences(FLAG)
        )
