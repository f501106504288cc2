"""LibCST edits of one dict literal that keep its style."""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from bncodemod.strategies import call_edit


def edit_dict(text: str, newline: str, change: Callable[[cst.Dict], cst.Dict]) -> str:
    """The text of a dict literal after ``change``."""
    config = cst.PartialParserConfig(default_newline=newline)
    node = cst.parse_expression(text, config)
    if not isinstance(node, cst.Dict):
        raise TypeError(f"not a dict: {text}")
    return cst.Module([], default_newline=newline).code_for_node(change(node))


def put(node: cst.Dict, key: str, value: str, after: str | None = None) -> cst.Dict:
    """Set an entry; a new one comes behind the entry ``after``, or last."""
    elements = list(node.elements)
    index = _index(node, key)
    if index is not None:
        elements[index] = elements[index].with_changes(value=call_edit.expression(value))
        return node.with_changes(elements=elements)
    place = _index(node, after) if after is not None else None
    place = len(elements) - 1 if place is None else place
    model = elements[place]
    quote = '"'
    if isinstance(model, cst.DictElement) and isinstance(model.key, cst.SimpleString):
        quote = model.key.quote
    new = cst.DictElement(
        cst.SimpleString(f"{quote}{key}{quote}"), call_edit.expression(value), comma=model.comma
    )
    elements[place] = model.with_changes(comma=cst.Comma(whitespace_after=_between(node)))
    elements.insert(place + 1, new)
    return node.with_changes(elements=elements)


def drop(node: cst.Dict, key: str) -> cst.Dict:
    """Remove an entry if it is there."""
    index = _index(node, key)
    if index is None:
        return node
    elements = list(node.elements)
    gone = elements.pop(index)
    if elements and index == len(elements):
        elements[-1] = elements[-1].with_changes(comma=gone.comma)
    return node.with_changes(elements=elements)


def _index(node: cst.Dict, key: str) -> int | None:
    for index, element in enumerate(node.elements):
        if (
            isinstance(element, cst.DictElement)
            and isinstance(element.key, cst.SimpleString)
            and element.key.evaluated_value == key
        ):
            return index
    return None


def _between(node: cst.Dict) -> cst.BaseParenthesizableWhitespace:
    """What stands between two entries."""
    if len(node.elements) > 1 and isinstance(node.elements[0].comma, cst.Comma):
        space = node.elements[0].comma.whitespace_after
    else:
        space = node.lbrace.whitespace_after
    if isinstance(space, cst.ParenthesizedWhitespace):
        first = cst.TrailingWhitespace(newline=space.first_line.newline)
        return cst.ParenthesizedWhitespace(first, [], space.indent, space.last_line)
    return cst.SimpleWhitespace(" ")
