"""LibCST edits of one dict literal: its entries are laid out as the arguments of a call are."""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from bncodemod.strategies import call_edit

Entry = cst.BaseDictElement


def edit_dict(text: str, newline: str, change: Callable[[cst.Dict], cst.Dict]) -> str:
    """The text of a dict literal after ``change``."""
    config = cst.PartialParserConfig(default_newline=newline)
    node = cst.parse_expression(text, config)
    if not isinstance(node, cst.Dict):
        raise TypeError(f"not a dict: {text}")
    return cst.Module([], default_newline=newline).code_for_node(change(node))


def put(node: cst.Dict, key: str, value: str) -> cst.Dict:
    """Set an entry; a new one comes last."""
    index = _index(node, key)
    if index is not None:
        elements = list(node.elements)
        elements[index] = elements[index].with_changes(value=call_edit.expression(value))
        return node.with_changes(elements=elements)
    new = _entry(node, key, value)
    return _from_call(
        node,
        call_edit.append(_as_call(node), None, _name(len(node.elements))),
        [*node.elements, new],
    )


def put_behind(node: cst.Dict, key: str, value: str, after: str) -> cst.Dict:
    """Add an entry on the line of the entry ``after``, behind it."""
    if _index(node, key) is not None:
        return put(node, key, value)
    index = _index(node, after)
    assert index is not None
    elements = list(node.elements)
    new = _entry(node, key, value).with_changes(comma=elements[index].comma)
    space = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
    elements[index : index + 1] = [elements[index].with_changes(comma=space), new]
    return node.with_changes(elements=elements)


def drop(node: cst.Dict, key: str) -> cst.Dict:
    """Remove an entry if it is there; the comments beside it stay."""
    index = _index(node, key)
    if index is None:
        return node
    return _from_call(node, call_edit.drop(_as_call(node), index), list(node.elements))


def _entry(node: cst.Dict, key: str, value: str) -> cst.DictElement:
    quotes = [
        element.key.quote
        for element in node.elements
        if isinstance(element, cst.DictElement) and isinstance(element.key, cst.SimpleString)
    ]
    quote = quotes[0] if quotes else '"'
    return cst.DictElement(cst.SimpleString(f"{quote}{key}{quote}"), call_edit.expression(value))


def _index(node: cst.Dict, key: str) -> int | None:
    for index, element in enumerate(node.elements):
        if (
            isinstance(element, cst.DictElement)
            and isinstance(element.key, cst.SimpleString)
            and element.key.evaluated_value == key
        ):
            return index
    return None


def _name(index: int) -> str:
    return f"_{index}"


def _as_call(node: cst.Dict) -> cst.Call:
    """A call with an argument for each entry, with the commas and spaces of the dict.

    What stands before the closing brace belongs to the brace in a dict, and in a call to the last
    argument or its comma.
    """
    args = [
        cst.Arg(cst.Name(_name(index)), comma=element.comma)
        for index, element in enumerate(node.elements)
    ]
    closing = node.rbrace.whitespace_before
    if args and isinstance(args[-1].comma, cst.Comma):
        args[-1] = args[-1].with_changes(comma=cst.Comma(whitespace_after=closing))
    elif args:
        args[-1] = args[-1].with_changes(whitespace_after_arg=closing)
    return cst.Call(cst.Name("_"), args, whitespace_before_args=node.lbrace.whitespace_after)


def _from_call(node: cst.Dict, call: cst.Call, entries: list[Entry]) -> cst.Dict:
    """The dict whose entries are laid out as the call's arguments are."""
    elements = []
    for arg in call.args:
        assert isinstance(arg.value, cst.Name)
        entry = entries[int(arg.value.value[1:])]
        elements.append(entry.with_changes(comma=arg.comma))
    closing = node.rbrace
    if call.args and isinstance(call.args[-1].comma, cst.Comma):
        closing = closing.with_changes(whitespace_before=call.args[-1].comma.whitespace_after)
        elements[-1] = elements[-1].with_changes(comma=cst.Comma())
    elif call.args:
        closing = closing.with_changes(whitespace_before=call.args[-1].whitespace_after_arg)
    return node.with_changes(
        elements=elements,
        lbrace=node.lbrace.with_changes(whitespace_after=call.whitespace_before_args),
        rbrace=closing,
    )
