"""Whether weights are loaded into a built model, or into another of its builder, and where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from bncodemod.scan.model_places import bound_by
from bncodemod.scan.model_sources import maker
from bncodemod.scan.weights import Transfer, holders, owners_of_state
from bncodemod.strategies.context import Context


@dataclass(frozen=True, slots=True)
class LoadedAt:
    """A place where weights are loaded, and whether other keys than the model's are refused."""

    where: str
    is_strict: bool = True


def loaded_beyond(
    context: Context, call: ast.Call, seen: tuple[ast.Call, ...] = ()
) -> LoadedAt | None:
    """Where weights are loaded into the model of a call, or into what holds it.

    Looked at are the loads of other scopes and files: those of its own scope are ``seen``, and what
    the functions do that are called there.
    """
    made_in = _holding(context, call)
    scope = context.names.scopes.scope_of(context.tree.statement(call))
    for load in _of_checkpoints(context):
        if load.node in seen or not load.entries.isdisjoint(seen):
            continue
        if context.names.scopes.scope_of(load.node) is scope:
            continue
        if call in load.calls or not _base_names(load).isdisjoint(made_in):
            return LoadedAt(_line(load), load.is_strict)
    for made, place in context.names.index.uses.loaded.items():
        if made.partition("(")[0] in made_in:
            return LoadedAt(place)
    return None


def loads_here(
    context: Context, call: ast.Call, seen: tuple[ast.Call, ...]
) -> tuple[ast.expr, ...]:
    """The strict loads in the scope of a call, beside those ``seen``, into its model.

    They reach it in another way than by its variable: out of a dict, by ``ModelEma(model)``.
    """
    scope = context.names.scopes.scope_of(context.tree.statement(call))
    return tuple(
        load.node
        for load in _of_checkpoints(context)
        if load.is_strict
        and call in load.calls
        and load.node not in seen
        and load.entries.isdisjoint(seen)
        and context.names.scopes.scope_of(load.node) is scope
    )


def states_given(context: Context, call: ast.Call, targets: set[str]) -> set[ast.Call]:
    """The loads that take the state of the model of a call, called ``targets``, into another.

    The other is no copy of it, which would be patched as it is.
    """
    return {
        load.node
        for load in context.loads
        if load.is_own_state and load.calls and call not in load.calls
        if isinstance(load.node, ast.Call)
        if not targets.isdisjoint(_owners_of_state(context, load.node))
    }


def _owners_of_state(context: Context, load: ast.Call) -> Iterator[str]:
    """Of what models a load takes the state, as source."""
    for owner in owners_of_state(context.names, load):
        yield ast.unparse(owner).removesuffix(".module")


def handed_to_loads(context: Context, call: ast.Call) -> set[ast.Call]:
    """The calls that hand the model of a call to functions of the file, which load weights."""
    return {entry for load in context.loads if call in load.calls for entry in load.entries}


def loaded_into_another(context: Context, call: ast.Call) -> str:
    """Where weights are loaded into another model of the builder that a call calls.

    That matters where the model of the call is saved, or may be: the other one may load what is.
    """
    name = maker(call)
    if not may_be_saved(context, call):
        return ""
    for load in _of_checkpoints(context):
        if name in load.makers and call not in load.calls:
            return _line(load)
    return context.names.index.uses.loaded.get(name, "")


def may_be_saved(context: Context, call: ast.Call) -> bool:
    """Whether the state of the model of a call is taken or saved."""
    made_in = _holding(context, call)
    saved = {name.partition("(")[0] for name in context.names.index.uses.saved}
    return not saved.isdisjoint(made_in) or any(
        not save.is_linked or call in save.calls or not _base_names(save).isdisjoint(made_in)
        for save in context.saves
    )


def unlinked_load(context: Context) -> str:
    """Where weights are loaded into a model without showing what builds it, here or elsewhere."""
    here = (_line(load) for load in _of_checkpoints(context) if not load.is_linked)
    return next(here, context.names.index.uses.unlinked)


def shown_to_load(context: Context, call: ast.Call) -> bool:
    """Whether some load of the file is seen to load a checkpoint into the model of a call."""
    return any(call in load.calls for load in _of_checkpoints(context))


def seen_load(context: Context, call: ast.Call) -> str:
    """Where a checkpoint is seen to be loaded into the model of a call, here or elsewhere."""
    here = (_line(load) for load in _of_checkpoints(context) if call in load.calls)
    beyond = loaded_beyond(context, call)
    return next(here, beyond.where if beyond is not None else "")


def takes_state(context: Context, call: ast.Call) -> bool:
    """Whether the state of another module of the program is loaded into the model of a call."""
    return any(load.is_own_state and call in load.calls for load in context.loads)


def exchanges_state(context: Context, call: ast.Call) -> str:
    """Where the model of a call gives its state to another one or takes that, beyond its scope."""
    for load in context.loads:
        both = load.calls | load.givers
        if load.is_own_state and call in both and load.calls.isdisjoint(load.givers):
            return _line(load)
    kept = {place.target for place in bound_by(context.names, call)}
    for name in context.names.index.uses.transferring if kept else ():
        for node in context.tree.occurrences(name):
            transfer = context.tree.call_to(node)
            if transfer is not None and len(transfer.args) > 1:
                if not kept.isdisjoint(map(ast.unparse, transfer.args)):
                    return f"line {transfer.lineno}"
    return ""


def _holding(context: Context, call: ast.Call) -> set[str]:
    """What may hold the model of a call: also the bases, whose methods load into their objects."""
    found: set[str] = set()
    todo = holders(context.names, call)
    while todo:
        name, definition = todo.popitem()
        if name in found:
            continue
        found.add(name)
        for base in definition.bases if isinstance(definition, ast.ClassDef) else ():
            found.add(ast.unparse(base).rpartition(".")[2])
            for meaning in context.names.meanings(base):
                if isinstance(meaning.definition, ast.ClassDef):
                    todo[meaning.definition.name] = meaning.definition
                    found.discard(meaning.definition.name)
    return found


def _of_checkpoints(context: Context) -> Iterator[Transfer]:
    return (load for load in context.loads if not load.is_own_state)


def _base_names(load: Transfer) -> set[str]:
    return {name.partition("(")[0] for name in load.makers}


def _line(load: Transfer) -> str:
    return f"line {load.node.lineno}"
