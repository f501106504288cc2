"""Ensembles whose buffers are stacked with their parameters: vmap takes them in train mode."""

from __future__ import annotations

import ast

from bncodemod.scan.libraries import argument
from bncodemod.scan.names import Names
from bncodemod.scan.scopes import BindingKind
from bncodemod.scan.transforms import Transformed

# What stacks the states of modules, and the place of the buffers in what it gives.
_STACKED = {
    "torch.func.stack_module_state": 1,
    "functorch.stack_module_state": 1,
    "functorch.combine_state_for_ensemble": 2,
}


# What hands its own arguments on to the function that it differentiates.
_HANDING_ON = ("grad", "grad_and_value", "jacrev", "jacfwd", "hessian")
_ENDS = tuple(f".{name}" for name in _HANDING_ON)


def maps_over_buffers(names: Names, transformed: Transformed, call: ast.Call) -> bool:
    """Whether a call of what ``vmap`` gives maps over stacked buffers.

    Each member then updates statistics of its own.
    """
    if not is_mapped_first(transformed):
        return False
    vmap = transformed.node
    dims = argument(vmap, "in_dims", 1) if isinstance(vmap, ast.Call) else None
    return any(
        _is_mapped(dims, index) and _is_stacked(names, given)
        for index, given in enumerate(call.args)
    )


def is_mapped_first(transformed: Transformed) -> bool:
    """Whether ``vmap`` is the outermost transform, and those inside get all that it is given.

    ``vmap(grad(f))(parameters, buffers, x)`` may update the buffers. A derivative that is taken in
    the function itself may not: they come from outside of it.
    """
    first, *others = transformed.transforms
    return first.endswith(".vmap") and all(t.endswith(_ENDS) for t in others)


def _is_mapped(dims: ast.expr | None, index: int) -> bool:
    if isinstance(dims, (ast.Tuple, ast.List)):
        dims = dims.elts[index] if index < len(dims.elts) else ast.Constant(None)
    return dims is None or (isinstance(dims, ast.Constant) and dims.value == 0)


def _is_stacked(names: Names, given: ast.expr) -> bool:
    if not isinstance(given, ast.Name):
        return False
    bindings = names.scopes.reaching(given) or []
    return bool(bindings) and all(
        binding.kind is BindingKind.ELEMENT
        and isinstance(binding.value, ast.Call)
        and _place(names, binding.node) == _STACKED.get(names.qualified(binding.value.func))
        for binding in bindings
    )


def _place(names: Names, name: ast.AST) -> int:
    """The place of a name in the tuple that is unpacked."""
    target = names.tree.parents.get(name)
    if isinstance(target, (ast.Tuple, ast.List)) and name in target.elts:
        return target.elts.index(name)
    return -1
