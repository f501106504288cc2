"""LibCST edits of one call that keep its style: commas, line breaks, comments, spaces.

Every function takes and gives LibCST nodes; ``edit_call`` is the way in from text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import libcst as cst

Whitespace = cst.BaseParenthesizableWhitespace
Change = Callable[[cst.Call], cst.BaseExpression]


def edit_call(text: str, newline: str, change: Change) -> str:
    """The text of a call after ``change``.

    The call is parsed in parentheses of its own, since it may span lines by those around it.
    """
    config = cst.PartialParserConfig(default_newline=newline)
    node = cst.parse_expression(f"({text})", config)
    if not isinstance(node, cst.Call):
        raise TypeError(f"not a call: {text}")
    bare = node.with_changes(lpar=node.lpar[1:], rpar=node.rpar[:-1])
    return cst.Module([], default_newline=newline).code_for_node(change(bare))


def expression(code: str) -> cst.BaseExpression:
    """Parse the code of an expression."""
    return cst.parse_expression(code)


def append(call: cst.Call, keyword: str | None, value: str) -> cst.Call:
    """Add ``keyword=value``, or a bare ``value``, after the last argument."""
    added = cst.Arg(value=expression(value))
    if keyword is not None:
        added = added.with_changes(keyword=cst.Name(keyword), equal=_equal_style(call.args))
    if not call.args:
        return call.with_changes(args=[added])
    *head, last = call.args
    if isinstance(last.value, cst.GeneratorExp) and not last.value.lpar:
        last = last.with_changes(
            value=last.value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        )
    if isinstance(last.comma, cst.Comma):
        last, added = _after_trailing_comma(call, last, added)
    else:
        last, added = _after_bare_argument(call, last, added)
    return call.with_changes(args=[*head, last, added])


def set_value(call: cst.Call, index: int, value: str) -> cst.Call:
    """Give the argument at ``index`` another value."""
    args = list(call.args)
    args[index] = args[index].with_changes(value=expression(value))
    return call.with_changes(args=args)


def index_of(call: cst.Call, keyword: str) -> int | None:
    """The place of a keyword argument; None if the call has none of that name."""
    for index, arg in enumerate(call.args):
        if arg.keyword is not None and arg.keyword.value == keyword:
            return index
    return None


def put(call: cst.Call, keyword: str, value: str) -> cst.Call:
    """Give a keyword argument another value, or add it."""
    index = index_of(call, keyword)
    return append(call, keyword, value) if index is None else set_value(call, index, value)


def merge_into_double_star(call: cst.Call, keyword: str, value: str) -> cst.Call:
    """Turn the last ``**mapping`` into ``**{**mapping, "keyword": value}``: it must not clash."""
    args = list(call.args)
    index = max(i for i, arg in enumerate(args) if arg.star == "**")
    merged = cst.Dict(
        elements=[
            cst.StarredDictElement(args[index].value, comma=_comma()),
            cst.DictElement(cst.SimpleString(f'"{keyword}"'), expression(value)),
        ]
    )
    args[index] = args[index].with_changes(value=merged)
    return call.with_changes(args=args)


def name_argument(arg: cst.Arg, keyword: str) -> cst.Arg:
    """The argument under a keyword; a positional one gets it, another is renamed."""
    if arg.keyword is not None:
        return arg.with_changes(keyword=cst.Name(keyword))
    return arg.with_changes(keyword=cst.Name(keyword), equal=_tight_equal())


def insert_before(arg: cst.Arg, value: str, keyword: str | None = None) -> cst.Arg:
    """A new argument to stand before ``arg`` on its line."""
    name = cst.Name(keyword) if keyword else None
    equal = arg.equal if arg.keyword is not None else cst.MaybeSentinel.DEFAULT
    return cst.Arg(value=expression(value), keyword=name, equal=equal, comma=_comma())


def drop(call: cst.Call, index: int) -> cst.Call:
    """Remove an argument; the comments beside it stay."""
    args = list(call.args)
    gone = args.pop(index)
    space = _space_after(gone)
    if not args:
        return call.with_changes(args=args)
    if index == len(args):
        before = args[-1]
        kept = _closing(_space_after(before), space)
        if isinstance(gone.comma, cst.Comma):
            args[-1] = before.with_changes(comma=cst.Comma(whitespace_after=kept))
        else:
            args[-1] = before.with_changes(
                comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=kept
            )
    elif index:
        before = args[index - 1]
        kept = _with_comments(_space_after(before), space)
        args[index - 1] = before.with_changes(comma=cst.Comma(whitespace_after=kept))
    elif _comments(space):
        call = call.with_changes(
            whitespace_before_args=_with_comments(call.whitespace_before_args, space)
        )
    return call.with_changes(args=args)


def _after_trailing_comma(call: cst.Call, last: cst.Arg, added: cst.Arg) -> tuple[cst.Arg, cst.Arg]:
    assert isinstance(last.comma, cst.Comma)
    closing = last.comma.whitespace_after
    indent = _argument_indent(call)
    if isinstance(closing, cst.ParenthesizedWhitespace) and indent is not None:
        return (
            last.with_changes(
                comma=last.comma.with_changes(
                    whitespace_after=closing.with_changes(last_line=indent)
                )
            ),
            added.with_changes(
                comma=cst.Comma(whitespace_after=_plain_break(closing, closing.last_line))
            ),
        )
    comma = last.comma.with_changes(whitespace_after=cst.SimpleWhitespace(" "))
    return last.with_changes(comma=comma), added.with_changes(
        comma=cst.Comma(whitespace_after=closing)
    )


def _after_bare_argument(call: cst.Call, last: cst.Arg, added: cst.Arg) -> tuple[cst.Arg, cst.Arg]:
    closing = last.whitespace_after_arg
    indent = _argument_indent(call)
    bare = last.with_changes(whitespace_after_arg=cst.SimpleWhitespace(""))
    if isinstance(closing, cst.ParenthesizedWhitespace) and indent is not None:
        between: Whitespace = closing.with_changes(last_line=indent)
        closing = _plain_break(closing, closing.last_line)
    else:
        between = _between(call)
    return (
        bare.with_changes(comma=cst.Comma(whitespace_after=between)),
        added.with_changes(whitespace_after_arg=closing),
    )


def _argument_indent(call: cst.Call) -> cst.SimpleWhitespace | None:
    """The indent of arguments that stand on lines of their own; None where they share one."""
    places = [call.whitespace_before_args, *(_space_after(arg) for arg in call.args[:-1])]
    last = places[-1]
    return last.last_line if isinstance(last, cst.ParenthesizedWhitespace) else None


def _between(call: cst.Call) -> Whitespace:
    """What stands between arguments: a line break if each of them has one, else a space."""
    spaces = [_space_after(arg) for arg in call.args[:-1]]
    if spaces and all(isinstance(space, cst.ParenthesizedWhitespace) for space in spaces):
        model = spaces[-1]
        assert isinstance(model, cst.ParenthesizedWhitespace)
        return _plain_break(model, model.last_line)
    return cst.SimpleWhitespace(" ")


def _plain_break(
    model: cst.ParenthesizedWhitespace, last_line: cst.SimpleWhitespace
) -> cst.ParenthesizedWhitespace:
    """A line break like ``model``'s without its comments."""
    first = cst.TrailingWhitespace(newline=model.first_line.newline)
    return cst.ParenthesizedWhitespace(first_line=first, indent=model.indent, last_line=last_line)


def _space_after(arg: cst.Arg) -> Whitespace:
    if isinstance(arg.comma, cst.Comma):
        return arg.comma.whitespace_after
    return arg.whitespace_after_arg


def _comments(space: Whitespace) -> list[cst.EmptyLine]:
    """The comments in a stretch of whitespace, each on a line of its own."""
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return []
    lines = [line for line in space.empty_lines if line.comment]
    if space.first_line.comment:
        own = cst.EmptyLine(
            indent=space.indent,
            whitespace=space.last_line,
            comment=space.first_line.comment,
            newline=space.first_line.newline,
        )
        lines.insert(0, own)
    return lines


def _with_comments(space: Whitespace, gone: Whitespace) -> Whitespace:
    """``space`` with the comments of a stretch that goes."""
    comments = _comments(gone)
    if not comments:
        return space
    if isinstance(space, cst.ParenthesizedWhitespace):
        return space.with_changes(empty_lines=[*space.empty_lines, *comments])
    return gone


def _closing(before: Whitespace, gone: Whitespace) -> Whitespace:
    """What closes the arguments when the last goes: its layout, the comments of both."""
    if not _comments(before):
        return gone
    if not isinstance(gone, cst.ParenthesizedWhitespace):
        return before
    assert isinstance(before, cst.ParenthesizedWhitespace)
    return before.with_changes(
        empty_lines=[*before.empty_lines, *_comments(gone)], last_line=gone.last_line
    )


def _equal_style(args: Sequence[cst.Arg]) -> cst.AssignEqual:
    """``=`` with the spaces that the call's other keywords have."""
    for arg in args:
        if isinstance(arg.equal, cst.AssignEqual):
            return arg.equal
    return _tight_equal()


def _tight_equal() -> cst.AssignEqual:
    return cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))


def _comma() -> cst.Comma:
    return cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
