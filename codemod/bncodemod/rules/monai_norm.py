"""MONAI is told the norm by a name, or builds batch norm by default.

``norm="batch"``, ``norm=Norm.BATCH`` and ``norm=("batch", {…})`` become a class of torch inside
MONAI, and the dict reaches its constructor. Which callables take such an argument, under which
name, and which build batch norm by default or keep some whatever they are told, was measured on
MONAI itself and is kept in the catalog.

Before:
    from monai.networks.nets import UNet
    net = UNet(2, 1, 2, (16, 32, 64), (2, 2), norm="batch")
After (no-running-stats):
    from monai.networks.nets import UNet
    net = UNet(2, 1, 2, (16, 32, 64), (2, 2), norm=("batch", {"track_running_stats": False}))

A name in a variable or a default is rewritten where nothing but such arguments reads it. Under
group-norm, ``("group", {"num_groups": G})`` is written for a block whose channels are known;
elsewhere the site is open, because one G has to divide the channels of every layer.

By hand: pass ``norm=("batch", {"track_running_stats": False})`` or ``norm=("group",
{"num_groups": G})``; where no argument reaches the norms, build the model and call
``torch.func.replace_all_batch_norm_modules_(model)``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import libcst as cst

from bncodemod.catalog import norm_arguments
from bncodemod.catalog.libraries import MONAI_NORMS
from bncodemod.catalog.norm_arguments import NormArgument
from bncodemod.catalog.torch import FLAG
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.flow import trace
from bncodemod.scan.libraries import argument, has_mapping, mentions_library, references
from bncodemod.scan.literals import is_false
from bncodemod.scan.mentions import Role, role
from bncodemod.scan.norm_names import NameUses, name_uses
from bncodemod.source.splice import Edit
from bncodemod.strategies import dict_edit
from bncodemod.strategies.arguments import integer
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import NO_STATISTICS, BuiltModel, Decision, Open, Rewrite
from bncodemod.strategies.groups import num_groups
from bncodemod.strategies.model_builder import PATCH, built, model_of

rule = Rule("BN109", "MONAI norm", priority=8)

_BATCH = frozenset({"BATCH", "SYNCBATCH"})
_QUOTED = re.compile(r"""['"](?:sync)?batch['"]""", re.IGNORECASE)
_OFF = f'"{FLAG}": False'
_DROPPED = ("momentum", FLAG)


@dataclass(frozen=True, slots=True, eq=False)
class _Spec:
    """A norm that is said by its name: ``node`` is all of it, ``options`` the dict beside it."""

    node: ast.expr
    name: ast.expr
    options: ast.expr | None


@rule.finds
def monai_norms(context: Context) -> Iterator[Match]:
    """Norms that are named, and calls that build batch norm without being told."""
    if not mentions_library(context.names, "monai"):
        return
    yield from _built(context)
    yield from _looked_up(context)
    for spec in _specs(context):
        uses = name_uses(context.names, spec.node)
        if uses.calls and not all(entry.effect == "works" for _, entry in uses.calls):
            continue  # open where it is called
        if uses.calls:
            yield Match(spec.node, partial(_decide, context, spec, uses), claims=(spec.name,))
        elif uses.named:
            yield Match(spec.node, partial(_open_named, spec), claims=(spec.name,))


# Norms that are named.


def _specs(context: Context) -> Iterator[_Spec]:
    tree = context.tree
    for written in set(_QUOTED.findall(tree.source.text)):
        tree.search_text(written)
    names: list[ast.expr] = [c for c in tree.of_type(ast.Constant) if _is_batch(context, c)]
    for word in sorted(_BATCH):
        for node in tree.occurrences(word):
            if isinstance(node, ast.Attribute) and _is_batch(context, node):
                names.append(node)
    for name in names:
        above = tree.parents.get(name)
        if isinstance(above, ast.Tuple) and len(above.elts) == 2 and above.elts[0] is name:
            if not isinstance(tree.parents.get(above), ast.Subscript):
                yield _Spec(above, name, above.elts[1])
        else:
            yield _Spec(name, name, None)


def _is_batch(context: Context, node: ast.expr) -> bool:
    """Whether an expression is the name of batch norm for MONAI."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value.upper() in _BATCH
    return context.names.qualified(node) in {f"{f}.{name}" for f in MONAI_NORMS for name in _BATCH}


def _decide(context: Context, spec: _Spec, uses: NameUses) -> Decision:
    if _keeps_none(spec.options):
        return NO_STATISTICS
    if any(_asks_for_weights(call, entry) for call, entry in uses.calls):
        return _open_weights(context, uses.calls[0][0], uses.calls[0][1])
    if uses.others:
        return Open(
            "this names a norm for MONAI and goes elsewhere as well, where a tuple may not do",
            _remedy(context),
        )
    decide = _without_statistics if context.keeps_batch_norm else _group_norm
    return replace(decide(context, spec, uses), model=_model(context, uses))


def _model(context: Context, uses: NameUses) -> BuiltModel | None:
    """What the calls build that are told this norm."""
    calls = tuple(call for call, _ in uses.calls)
    models = [model_of(context, call, weights=False) for call in calls]
    return BuiltModel(calls, weights=False) if all(models) else None


def _without_statistics(context: Context, spec: _Spec, _: NameUses) -> Rewrite:
    message = "the named norm keeps no running statistics any more"
    options, newline = spec.options, context.newline(spec.node)
    if options is None:
        start, end = context.tree.span(spec.node)
        return Rewrite((Edit(start, end, lambda text: f"({text}, {{{_OFF}}})"),), message)
    start, end = context.tree.span(options)
    if isinstance(options, ast.Dict):

        def put(text: str) -> str:
            return dict_edit.edit_dict(
                text, newline, lambda node: dict_edit.put(node, FLAG, "False")
            )

        return Rewrite((Edit(start, end, put),), message)
    return Rewrite((Edit(start, end, lambda text: f"{{**{text}, {_OFF}}}"),), message)


def _group_norm(context: Context, spec: _Spec, uses: NameUses) -> Rewrite | Open:
    """``("group", {"num_groups": 16})`` where the channels of all the layers are known."""
    channels = {_channels(call, entry) for call, entry in uses.calls}
    known = channels.pop() if len(channels) == 1 else None
    groups = num_groups(known, context.settings) if known else None
    options = spec.options
    if groups is None or not (options is None or _is_plain(options)):
        return Open(
            "which number of groups divides the channels of every layer is not known here",
            _remedy(context),
        )
    text = context.tree.text(spec.name)
    quote = text[0] if text[0] in "'\"" else '"'
    group = f"{quote}group{quote}"
    message = f"the named norm is a GroupNorm of {groups} groups"
    if options is None:
        return Rewrite(
            (context.replace(spec.node, f'({group}, {{"num_groups": {groups}}})'),), message
        )
    newline = context.newline(options)
    start, end = context.tree.span(options)

    def regroup(written: str) -> str:
        return dict_edit.edit_dict(
            written,
            newline,
            lambda node: dict_edit.put(_dropped(node), "num_groups", str(groups)),
        )

    edits = (context.replace(spec.name, group), Edit(start, end, regroup))
    return Rewrite(edits, message)


def _dropped(node: cst.Dict) -> cst.Dict:
    for name in _DROPPED:
        node = dict_edit.drop(node, name)
    return node


def _channels(call: ast.Call, entry: NormArgument) -> int | None:
    if not entry.channels:
        return None
    return integer(argument(call, entry.channels, entry.channels_position, 0))


def _is_plain(options: ast.expr) -> bool:
    """Whether a dict says all its keys."""
    return isinstance(options, ast.Dict) and all(isinstance(k, ast.Constant) for k in options.keys)


def _keeps_none(options: ast.expr | None) -> bool:
    """Whether the dict beside the name ends with the flag switched off."""
    if not isinstance(options, ast.Dict):
        return False
    given = [
        value
        for key, value in zip(options.keys, options.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == FLAG
    ]
    last_is_star = bool(options.keys) and options.keys[-1] is None
    off = bool(given) and isinstance(given[-1], ast.Constant) and given[-1].value is False
    return off and not last_is_star


def _open_named(spec: _Spec) -> Open:
    return Open(
        f"{ast.unparse(spec.node)} may name a batch norm of MONAI",
        f'if it does, pass ("batch", {{"{FLAG}": False}})',
    )


# Calls that build batch norm without being told.


def _built(context: Context) -> Iterator[Match]:
    known = norm_arguments.names("monai")
    for node, qualified in references(context.names, ("monai.networks",), known):
        entry = norm_arguments.lookup(qualified)
        use = role(context.names, node)
        if entry is None:
            continue
        above = context.tree.parent(node)
        if use in (Role.CALL, Role.PARTIAL) and isinstance(above, ast.Call):
            yield from _call(context, above, entry, 0 if use is Role.CALL else 1)
        elif use is Role.BASE and entry.effect != "works":
            yield Match(node, partial(_open_obstacle, context, None, entry))
        elif use is Role.VALUE and (entry.default or entry.effect == "none"):
            yield Match(node, partial(_open_value, context, node, entry))


def _call(context: Context, call: ast.Call, entry: NormArgument, skip: int) -> Iterator[Match]:
    if entry.effect != "works":
        decide = partial(_open_obstacle, context, call, entry)
        yield Match(call, decide, claims=tuple(_claims(call, entry, skip)))
        return
    given = argument(call, entry.parameter, entry.position, skip)
    if given is None:
        if entry.default:
            yield Match(call, partial(_decide_default, context, call, entry, skip))
    elif _is_said_elsewhere(context, given):
        yield Match(given, partial(_open_run_time, given))


def _is_said_elsewhere(context: Context, given: ast.expr) -> bool:
    """Whether this file does not say which norm an argument names."""
    qualified = context.names.qualified(given)
    if qualified:
        return not qualified.startswith(("monai.", "torch.", "builtins."))
    of_self = isinstance(given, ast.Attribute) and ast.unparse(given).startswith("self.")
    return isinstance(given, (ast.Attribute, ast.Call, ast.Subscript)) and not of_self


def _claims(call: ast.Call, entry: NormArgument, skip: int) -> Iterator[ast.AST]:
    given = argument(call, entry.parameter, entry.position, skip) if entry.parameter else None
    if given is not None:
        yield from ast.walk(given)


def _decide_default(context: Context, call: ast.Call, entry: NormArgument, skip: int) -> Decision:
    name = entry.name.rpartition(".")[2]
    if _asks_for_weights(call, entry, skip):
        return _open_weights(context, call, entry)
    if has_mapping(call) or any(isinstance(a, ast.Starred) for a in call.args):
        hidden = f"{name} builds batch norm by default, and * may hide {entry.parameter}"
        return built(context, call, hidden, weights=bool(entry.weights))
    if not context.keeps_batch_norm:
        message = f"{name} builds batch norm by default"
        return built(context, call, message, weights=False, remedy=_remedy(context))
    written = _default_without_statistics(entry.default)
    edit = context.append(call, entry.parameter, written)
    model = model_of(context, call, weights=False)
    return Rewrite((edit,), f"{name} keeps no running statistics any more", model=model)


def _default_without_statistics(default: str) -> str:
    """The default of a callable as code, with the flag in its options."""
    value = ast.literal_eval(default)
    name, options = value if isinstance(value, tuple) else (value, {})
    entries = {**options, FLAG: False}
    written = ", ".join(f'"{key}": {entry!r}' for key, entry in entries.items())
    return f'("{name}", {{{written}}})'


def _asks_for_weights(call: ast.Call, entry: NormArgument, skip: int = 0) -> bool:
    if not entry.weights:
        return False
    given = argument(call, entry.weights, entry.weights_position, skip)
    if given is None:
        return entry.pretrained_by_default
    return not (isinstance(given, ast.Constant) and given.value in (None, False))


def _open_weights(context: Context, call: ast.Call, entry: NormArgument) -> Open:
    name = entry.name.rpartition(".")[2]
    return built(
        context,
        call,
        f"{name} may load pretrained weights here, whose statistics a rewritten model has no place"
        " for",
        weights=True,
    )


def _open_obstacle(context: Context, call: ast.Call | None, entry: NormArgument) -> Open:
    """``call`` is None where the norms are those of a base class."""
    name = entry.name.rpartition(".")[2]
    message = f"{name} builds batch norm, and no argument says another norm"
    if entry.effect == "partly":
        message = f"{name} builds batch norms that its {entry.parameter} does not reach"
    if call is None:
        return Open(message, PATCH)
    return built(context, call, message, weights=_asks_for_weights(call, entry))


def _open_value(context: Context, node: ast.expr, entry: NormArgument) -> Open:
    name = entry.name.rpartition(".")[2]
    message = f"{name} builds batch norm by default and is used here as a value"
    return built(context, node, message, weights=bool(entry.weights))


def _open_run_time(given: ast.expr) -> Open:
    return Open(
        f"which norm {ast.unparse(given)} names is known only at run time",
        f'if it may be batch norm, pass ("batch", {{"{FLAG}": False}}) in its place',
    )


def _remedy(context: Context) -> str:
    if context.keeps_batch_norm:
        return f'pass ("batch", {{"{FLAG}": False}}) to MONAI itself'
    return 'pass ("group", {"num_groups": G}) with a G that divides the channels of every layer'


# Classes that are looked up in MONAI's factory.


def _looked_up(context: Context) -> Iterator[Match]:
    """``Norm["batch", 2]`` and ``Norm[Norm.BATCH, dim]``."""
    for node, qualified in references(context.names, MONAI_NORMS, MONAI_NORMS):
        place = context.tree.parent(node)
        if qualified not in MONAI_NORMS or not isinstance(place, ast.Subscript):
            continue
        name = place.slice.elts[0] if isinstance(place.slice, ast.Tuple) else place.slice
        if _is_batch(context, name):
            call = context.tree.parent(place)
            is_call = isinstance(call, ast.Call) and call.func is place
            target = call if is_call else place
            yield Match(target, partial(_decide_looked_up, context, target), claims=(name,))


def _decide_looked_up(context: Context, node: ast.AST) -> Decision:
    call = node if isinstance(node, ast.Call) else context.tree.parent(node)
    given = argument(call, FLAG, None, 0) if isinstance(call, ast.Call) else None
    if is_false(given):
        return NO_STATISTICS
    if context.keeps_batch_norm and given is None:
        message = "the norm that is looked up keeps no running statistics any more"
        if not isinstance(node, ast.Call):
            if isinstance(node, ast.expr) and _is_only_called(context, node):
                start, end = context.tree.span(node)
                name = context.imports.name_for("functools.partial", node)
                wrap = Edit(start, end, lambda text: f"{name}({text}, {FLAG}=False)")
                return Rewrite((wrap,), message)
        elif not has_mapping(node):
            return Rewrite((context.append(node, FLAG, "False"),), message)
    instead = f"pass {FLAG}=False where the class is called"
    if not context.keeps_batch_norm:
        instead = "look up Norm.GROUP, and call it with a number of groups and the channels"
    return Open("MONAI's factory gives a batch norm class here", instead)


def _is_only_called(context: Context, node: ast.expr) -> bool:
    flow = trace(context.names, node)
    return bool(flow.calls) and not flow.demands and not flow.escapes
