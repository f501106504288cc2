"""A configuration names batch norm by a string or holds its class: ``dict(type="BN")``.

OpenMMLab's Python configurations (mmcv, mmdetection, mmsegmentation …) hand the other entries of
the dict to the norm's constructor.

Before:
    norm_cfg = dict(type="BN", requires_grad=True)
After (no-running-stats):
    norm_cfg = dict(type="BN", requires_grad=True, track_running_stats=False)
After (group-norm):
    norm_cfg = dict(type="GN", num_groups=32, requires_grad=True)

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
from bncodemod.source.splice import Edit
from bncodemod.strategies import call_edit, dict_edit
from bncodemod.strategies.context import Context
from bncodemod.strategies.decision import Decision, Open, Rewrite, Safe

rule = Rule("BN108", "string registry", priority=5)

_REGISTERED = frozenset({"BN", "BN1d", "BN2d", "BN3d", "SyncBN", "MMSyncBN", "LazyBN", "LazyBN2d"})
_NORM_WORD = re.compile(r"norm|bn", re.IGNORECASE)
# What such a dict holds: the norm's own arguments and the builder's.
_ENTRIES = frozenset(
    {"type", "requires_grad", "eps", "momentum", "affine", FLAG, "num_features", "process_group"}
)
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
            if isinstance(call, ast.Call) and context.names.qualified(call.func) == "builtins.dict":
                entries = {k.arg: k.value for k in call.keywords if k.arg}
                yield from _match(context, call, entries)
        elif isinstance(above, ast.Dict) and kind in above.values:
            literal = {
                key.value: value
                for key, value in zip(above.keys, above.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
            yield from _match(context, above, literal)


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
    above = context.tree.parent(node)
    if isinstance(above, ast.keyword):
        return bool(_NORM_WORD.search(above.arg or ""))
    if isinstance(above, ast.Assign):
        return any(_NORM_WORD.search(ast.unparse(target)) for target in above.targets)
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
        if isinstance(flag, ast.Constant) and flag.value is False:
            return Safe("keeps no running statistics")
        changes: _Changes = (_switch_call_off, _switch_dict_off)
        message = "the configured norm keeps no running statistics any more"
    else:
        groups, kind = context.settings.groups, entries["type"]
        quote = context.tree.text(kind)[0]
        named = isinstance(kind, ast.Constant)
        to = f"{quote}GN{quote}" if named else _group_norm_class(context, kind)
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


def _group_norm_class(context: Context, kind: ast.expr) -> str:
    if isinstance(kind, ast.Attribute) and context.names.qualified(kind.value) == "torch.nn":
        return f"{context.tree.text(kind.value)}.GroupNorm"
    return context.imports.name_for("torch.nn.GroupNorm", kind)


def _switch_call_off(call: cst.Call) -> cst.Call:
    index = _index(call, FLAG)
    if index is not None:
        return call_edit.set_value(call, index, "False")
    return call_edit.append(call, FLAG, "False")


def _switch_dict_off(node: cst.Dict) -> cst.Dict:
    return dict_edit.put(node, FLAG, "False")


def _call_to_group_norm(call: cst.Call, kind: str, groups: str) -> cst.Call:
    for name in _DROPPED:
        index = _index(call, name)
        if index is not None:
            call = call_edit.drop(call, index)
    index = _index(call, "type")
    assert index is not None
    if _index(call, "num_groups") is not None:
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


def _index(call: cst.Call, keyword: str) -> int | None:
    for index, arg in enumerate(call.args):
        if arg.keyword is not None and arg.keyword.value == keyword:
            return index
    return None
