"""Why a value has to stay a class."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Need(Enum):
    """Why a value has to stay a class."""

    INSTANCE_TEST = "isinstance needs a class"
    CLASS_TEST = "it is asked whether it is a class"
    SUBCLASS = "it is a base class"
    IDENTITY = "it is compared by identity"
    ATTRIBUTE = "an attribute of the class is read"
    REGISTRY = "it is handed to code that may need a class"
    TYPE = "it stands in a type expression"
    METHOD = "it becomes an attribute of a class, where a function would be bound as a method"
    FLAG_BY_POSITION = "a call passes track_running_stats by position"
    FLAG_BY_STAR = "a call passes a * that may reach track_running_stats"
    FUNCTION_TEST = "it is asked whether it is a function"
    RETURNED = "the function says that it returns a class"
    FLAG_BY_KEYWORD = "a call passes track_running_stats itself"
    UNKNOWN = "it goes where it cannot be followed"
    ELSEWHERE = "it is stored where other files may use it as a class"


# A value with no other uses than these is never built: it is only compared with.
TESTS = frozenset({Need.INSTANCE_TEST, Need.CLASS_TEST, Need.IDENTITY, Need.ATTRIBUTE, Need.TYPE})

# Calls that say track_running_stats themselves.
FLAG_NEEDS = frozenset({Need.FLAG_BY_POSITION, Need.FLAG_BY_KEYWORD})


def calls_can_carry(needs: Iterable[Need], *, builds: bool, sure: bool, escapes: bool) -> bool:
    """Whether a value can stay a class, because its calls can carry what it needs.

    Every use must be seen, every call sure to build a norm, and all else only tests.
    """
    return builds and sure and not escapes and {*needs} <= {*TESTS, Need.FLAG_BY_POSITION}
