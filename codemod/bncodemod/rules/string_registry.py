"""A configuration names batch norm by a string or holds its class: ``dict(type="BN")``.

OpenMMLab's Python configurations (mmcv, mmdetection, mmsegmentation …) hand the other entries of
the dict to the norm's constructor, however deep it lies in others. ``cfg["type"] = "BN"``, and the
bare names that detectron2 takes (``cfg.MODEL.RESNETS.NORM = "BN"``), are reported.

Before:
    norm_cfg = dict(type="BN", requires_grad=True)
After (no-running-stats):
    norm_cfg = dict(type="BN", requires_grad=True, track_running_stats=False)
After (group-norm):
    norm_cfg = dict(type="GN", num_groups=32, requires_grad=True)

Where the dict holds the class itself, ``GroupNormAsBatchNorm2d`` takes its place, a class that is
added to the file once and takes batch norm's arguments.

By hand: add ``track_running_stats=False`` to the dict, or choose ``type="GN"`` with a
``num_groups`` that divides the channels of every layer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial

import libcst as cst

from bncodemod.catalog.torch import FLAG
from bncodemod.rules.rule import Match, Rule
from bncodemod.scan.literals import is_false
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit, dict_edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import NO_STATISTICS, Decision, Open, Rewrite, Safe

rule = Rule("BN108", "string registry", priority=5)

_REGISTERED = frozenset({"BN", "BN1d", "BN2d", "BN3d", "SyncBN", "MMSyncBN", "LazyBN", "LazyBN2d"})
_NORM_WORD = re.compile(r"norm|bn", re.IGNORECASE)
# What such a dict holds: the norm's own arguments and the builder's.
_ENTRIES = frozenset(
    {
        "type",
        "requires_grad",
        "eps",
        "momentum",
        "affine",
        FLAG,
        "num_features",
        "process_group",
        # How mmengine merges the dict with that of a base configuration.
        "_delete_",
        "_scope_",
    }
)
# Classes that are dicts with attributes.
_DICTS = frozenset({"ConfigDict", "EasyDict", "edict", "AttrDict", "addict.Dict"})
# detectron2 takes the bare name, and has one more.
_BARE = frozenset({*_REGISTERED, "naiveSyncBN"})
_DROPPED = ("momentum", FLAG)
_Changes = tuple[Callable[[cst.Call], cst.Call], Callable[[cst.Dict], cst.Dict]]


@rule.finds
def configurations(context: Context) -> Iterator[Match]:
    """Every ``dict(type=…)`` or ``{"type": …}`` that names a batch norm."""
    tree = context.tree
    text = tree.source.text
    kinds: list[ast.expr] = [m.node for m in context.mentions if m.norm.family == "batch"]
    for name in sorted(_REGISTERED):
        if f'"{name}"' in text or f"'{name}'" in text:
            tree.search_text(name)
    kinds += [c for c in tree.of_type(ast.Constant) if c.value in _REGISTERED]
    for kind in kinds:
        above = tree.parent(kind)
        if isinstance(above, ast.keyword) and above.arg == "type":
            call = tree.parent(above)
            if isinstance(call, ast.Call) and _makes_dict(context, call):
                entries = {k.arg: k.value for k in call.keywords if k.arg}
                yield from _match(context, call, entries)
        elif isinstance(above, ast.Dict) and kind in above.values:
            literal = {
                key.value: value
                for key, value in zip(above.keys, above.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
            yield from _match(context, above, literal)
        elif isinstance(above, ast.Assign) and isinstance(kind, ast.Constant):
            yield from _assigned(context, above)
    if "detectron2" in text:
        yield from _bare_names(context)


def _makes_dict(context: Context, call: ast.Call) -> bool:
    """Whether a call gives a dict of its keywords, or puts them into one."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "update":
        return True
    qualified = context.names.qualified(call.func)
    return qualified == "builtins.dict" or qualified.rpartition(".")[2] in _DICTS


def _assigned(context: Context, assign: ast.Assign) -> Iterator[Match]:
    """``cfg["type"] = "BN"`` and ``cfg.type = "BN"``."""
    target = assign.targets[0]
    if isinstance(target, ast.Subscript):
        if isinstance(target.slice, ast.Constant) and target.slice.value == "type":
            written = f'{context.tree.text(target.value)}["{FLAG}"]'
            yield Match(assign, partial(_decide_assigned, context, assign, written))
    elif isinstance(target, ast.Attribute) and target.attr == "type":
        written = f"{context.tree.text(target.value)}.{FLAG}"
        yield Match(assign, partial(_decide_assigned, context, assign, written))


def _decide_assigned(context: Context, assign: ast.Assign, written: str) -> Decision:
    kind = ast.unparse(assign.value)
    if f"{written} = False".replace('"', "'") in context.tree.source.text.replace('"', "'"):
        return Safe(f"{FLAG} is set to False beside the name")
    if context.keeps_batch_norm:
        remedy = f"set {written} = False beside it"
    else:
        remedy = "set it to 'GN', and num_groups beside it to a divisor of every layer's channels"
    return Open(f"{ast.unparse(assign.targets[0])} = {kind} names a batch norm", remedy)


def _bare_names(context: Context) -> Iterator[Match]:
    """The names that detectron2 makes norms of, where the code around them speaks of a norm."""
    for constant in context.tree.of_type(ast.Constant):
        above = context.tree.parents.get(constant)
        if constant.value not in _BARE:
            continue
        if isinstance(above, ast.keyword):
            said = above.arg or ""
        elif isinstance(above, ast.Assign):
            said = ast.unparse(above.targets[0]).rpartition(".")[2]
        elif isinstance(above, ast.Call):
            said = ast.unparse(above.func)
        else:
            continue
        if "norm" in said.lower():
            yield Match(constant, partial(_open_bare, context, constant))


def _open_bare(context: Context, constant: ast.Constant) -> Open:
    instead = (
        f"a callable that builds the norm with {FLAG}=False" if context.keeps_batch_norm else '"GN"'
    )
    return Open(f"{constant.value!r} names a batch norm of detectron2", f"pass {instead}")


def _match(
    context: Context, node: ast.Call | ast.Dict, entries: dict[str, ast.expr]
) -> Iterator[Match]:
    """A match for a dict whose entries are a norm's; others called BN are something else."""
    kind = entries.get("type")
    if kind is None or not set(entries) <= _ENTRIES:
        return
    named = isinstance(kind, ast.Constant)
    known = not named or len(entries) > 1 or _is_norm_setting(context, node)
    decide = partial(_decide, context, node, entries) if known else partial(_open, kind)
    yield Match(node, decide, claims=(kind,))


def _is_norm_setting(context: Context, node: ast.AST) -> bool:
    """Whether a dict is bound to a name that speaks of norms."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return bool(_NORM_WORD.search(ast.unparse(node.func.value)))
    above = context.tree.parent(node)
    if isinstance(above, ast.keyword):
        return bool(_NORM_WORD.search(above.arg or ""))
    if isinstance(above, ast.Assign):
        return any(_NORM_WORD.search(ast.unparse(target)) for target in above.targets)
    if isinstance(above, ast.Call):
        return bool(_NORM_WORD.search(ast.unparse(above.func)))
    if isinstance(above, ast.arguments):
        return True
    if isinstance(above, ast.Dict) and node in above.values:
        key = above.keys[above.values.index(node)]
        return key is not None and bool(_NORM_WORD.search(ast.unparse(key)))
    return False


def _open(kind: ast.expr) -> Open:
    return Open(
        f"type={ast.unparse(kind)} may name a batch norm of a registry",
        f"if it does, add {FLAG}=False to the dict",
    )


def _decide(context: Context, node: ast.Call | ast.Dict, entries: dict[str, ast.expr]) -> Decision:
    start, end = context.tree.span(node)
    newline = context.newline(node)
    if context.keeps_batch_norm:
        flag = entries.get(FLAG)
        if is_false(flag):
            return NO_STATISTICS
        changes: _Changes = (_switch_call_off, _switch_dict_off)
        message = "the configured norm keeps no running statistics any more"
    elif _is_merged(node):
        return Open(
            "the dict is merged with another, whose momentum a GroupNorm would not take",
            "write out the dict of the GroupNorm",
        )
    elif "num_features" in entries:
        return Open(
            "the dict has num_features, which a GroupNorm does not take",
            "write out the dict of the GroupNorm, with num_channels",
        )
    else:
        groups, kind = context.settings.groups, entries["type"]
        if not isinstance(kind, ast.Constant):
            return _as_class(context, kind)
        quote = context.tree.text(kind)[0]
        to = f"{quote}GN{quote}"
        changes = (
            partial(_call_to_group_norm, kind=to, groups=str(groups)),
            partial(_dict_to_group_norm, kind=to, groups=str(groups)),
        )
        message = f"the configured norm is a GroupNorm; {groups} must divide every layer's channels"
    if isinstance(node, ast.Call):
        edit = Edit(start, end, lambda text: call_edit.edit_call(text, newline, changes[0]))
    else:
        edit = Edit(start, end, lambda text: dict_edit.edit_dict(text, newline, changes[1]))
    return Rewrite((edit,), message)


def _is_merged(node: ast.Call | ast.Dict) -> bool:
    """Whether a dict takes entries of another one, or goes into one."""
    if isinstance(node, ast.Dict):
        return None in node.keys
    is_update = isinstance(node.func, ast.Attribute) and node.func.attr == "update"
    return is_update or bool(node.args) or any(k.arg is None for k in node.keywords)


def _as_class(context: Context, kind: ast.expr) -> Decision:
    """A class that takes all that the dict may hold for batch norm."""
    norm = next(mention.norm for mention in context.mentions if mention.node is kind)
    return context.strategy.reference_as_class(context, kind, norm)


def _switch_call_off(call: cst.Call) -> cst.Call:
    return call_edit.put(call, FLAG, "False")


def _switch_dict_off(node: cst.Dict) -> cst.Dict:
    return dict_edit.put(node, FLAG, "False")


def _call_to_group_norm(call: cst.Call, kind: str, groups: str) -> cst.Call:
    for name in _DROPPED:
        index = call_edit.index_of(call, name)
        if index is not None:
            call = call_edit.drop(call, index)
    index = call_edit.index_of(call, "type")
    assert index is not None
    if call_edit.index_of(call, "num_groups") is not None:
        return call_edit.set_value(call, index, kind)
    args = list(call.args)
    number = call_edit.name_argument(args[index], "num_groups").with_changes(
        value=call_edit.expression(groups)
    )
    args[index : index + 1] = [call_edit.insert_before(args[index], kind, "type"), number]
    return call.with_changes(args=args)


def _dict_to_group_norm(node: cst.Dict, kind: str, groups: str) -> cst.Dict:
    for name in _DROPPED:
        node = dict_edit.drop(node, name)
    return dict_edit.put_behind(dict_edit.put(node, "type", kind), "num_groups", groups, "type")
