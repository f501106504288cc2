"""Ensembles whose buffers are stacked with their parameters: vmap maps over both.

``stack_module_state`` gives each member running statistics of its own, and a batch norm may update
those in place under vmap.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from bncodemod.scan.model_places import kept_in
from bncodemod.scan.names import Names
from bncodemod.scan.stacked_buffers import is_mapped_first
from bncodemod.scan.transforms import Transforms

_STACK = "stack_module_state"
_TRANSFORMS = ("torch.func.", "torch.vmap", "functorch.")
_VMAP = ("torch.vmap", "torch.func.vmap", "functorch.vmap")
# Transforms under which a batch norm with stacked buffers may fail as well.
_DIFFERENTIATING = (
    "grad",
    "grad_and_value",
    "vjp",
    "jvp",
    "jacrev",
    "jacfwd",
    "hessian",
    "linearize",
)


def is_ensemble(names: Names, reads: list[ast.Name]) -> bool:
    """Whether the buffers of models are stacked and go through vmap with their parameters.

    ``reads`` are all reads of the variable that keeps the models.
    """
    calls = [names.tree.parents.get(node) for node in reads]
    stacks = [call for call in calls if isinstance(call, ast.Call) and _stacks(names, call)]
    if len(stacks) != 1 or _differentiates(names):
        return False
    statement = names.tree.parents.get(stacks[0])
    if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Tuple):
        return False
    kept = statement.targets[0].elts
    return len(kept) == 2 and isinstance(kept[1], ast.Name) and _is_mapped(names, kept[1].id)


def _stacks(names: Names, call: ast.Call) -> bool:
    return names.qualified(call.func).rpartition(".")[2] == _STACK


def _differentiates(names: Names) -> bool:
    """Whether a derivative is taken elsewhere than in ``vmap(grad(f))``."""
    found = {
        node
        for name in _DIFFERENTIATING
        for node in names.tree.occurrences(name)
        if isinstance(node, (ast.Name, ast.Attribute))
        and names.qualified(node).startswith(_TRANSFORMS)
    }
    for transformed in Transforms(names).outermost() if found else ():
        if is_mapped_first(transformed):
            found -= {call.func for call in transformed.calls}
    return bool(found)


def _is_mapped(names: Names, buffers: str) -> bool:
    """Whether every vmap of the file maps over the buffers, and nothing else reads them."""
    reads = {
        node
        for node in names.tree.occurrences(buffers)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    reads -= {n for n in reads if _is_parameter(names, n) or _is_looked_up(names, n)}
    mapped: set[ast.AST] = set()
    vmaps = [
        call
        for node in names.tree.occurrences("vmap")
        for call in [names.tree.parents.get(node)]
        if isinstance(call, ast.Call) and call.func is node and names.qualified(node) in _VMAP
    ]
    for vmap in vmaps:
        given = {n for call in _calls_of(names, vmap) for n in _mapped(vmap, call)} & reads
        if not given:
            return False
        mapped |= given
    return bool(mapped) and mapped == reads


def _is_parameter(names: Names, node: ast.Name) -> bool:
    """Whether a name is that of a function's own parameter."""
    bindings = names.scopes.reaching(node) or []
    return bool(bindings) and all(isinstance(b.node, ast.arg) for b in bindings)


def _is_looked_up(names: Names, buffers: ast.Name) -> bool:
    """Whether one buffer is read by its name: ``buffers["norm.running_mean"]``."""
    above = names.tree.parents.get(buffers)
    return isinstance(above, ast.Subscript) and isinstance(above.slice, ast.Constant)


def _calls_of(names: Names, vmap: ast.Call) -> Iterator[ast.Call]:
    above = names.tree.parents.get(vmap)
    if isinstance(above, ast.Call) and above.func is vmap:
        yield above
    place = kept_in(names, vmap)
    for node in names.tree.occurrences(place.target) if place is not None else ():
        call = names.tree.parents.get(node)
        if isinstance(call, ast.Call) and call.func is node:
            yield call


def _mapped(vmap: ast.Call, call: ast.Call) -> Iterator[ast.AST]:
    """The arguments of a call of what vmap gives that are mapped over their first axis."""
    given = [keyword.value for keyword in vmap.keywords if keyword.arg == "in_dims"]
    dims = [*vmap.args[1:2], *given][:1]
    for index, argument in enumerate(call.args):
        axes: ast.expr | None = dims[0] if dims else None
        if isinstance(axes, ast.Tuple) and index < len(axes.elts):
            axes = axes.elts[index]
        if axes is None or (isinstance(axes, ast.Constant) and axes.value == 0):
            yield argument
