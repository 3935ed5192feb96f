"""messages.py's values as JSON objects, and back.

What comes back is checked: a field that is missing or of another type is an
InputError that names it; one that is not known is passed over, since the other
end may be newer. A Domain is checked as one. The numbers of Stats and Status
lie beside the other fields, and not in an object of their own: what
`status --json` prints is documented, and keys are only added to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ...core.names import Domain, parse_domain
from ...errors import InputError
from .messages import REQUESTS, Request
from .numbers import Numbers

T = TypeVar("T")
_Read = Callable[[object, str], Any]  # a value and the name of its field

_FLAT = Numbers  # a part whose fields lie beside those around it


def request_to_json(request: Request[Any]) -> dict[str, Any]:
    return {"do": request.do, **to_json(request)}


def request_from_json(found: object) -> Request[Any]:
    """Raises: InputError."""
    if not isinstance(found, dict):
        raise InputError("the request is not a JSON object")
    kind = REQUESTS.get(str(found.get("do")))
    if kind is None:
        raise InputError(f"no such request; there are {', '.join(REQUESTS)}")
    request: Request[Any] = _read(kind, found)
    return request


def answer_from_json(request: Request[T], found: object) -> T:
    """Raises: InputError, where it is none of the request's answers."""
    if not isinstance(found, dict):
        raise InputError("the answer is not a JSON object")
    faults = []
    for kind in request.answers:
        try:
            answer: T = _read(kind, found)
            return answer
        except InputError as error:
            faults.append(str(error))
    raise InputError(faults[0])


def to_json(value: object) -> dict[str, Any]:
    """Return a message as an object that json can write."""
    written: dict[str, Any] = {}
    kind: Any = type(value)
    for name in _names(kind):
        inner = getattr(value, name)
        if isinstance(inner, _FLAT):
            written |= to_json(inner)
        else:
            written[name] = _plain(inner)
    return written


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_json(value)
    return [_plain(each) for each in value] if isinstance(value, list) and value and is_dataclass(value[0]) else value


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


def _read(kind: Any, found: dict[str, Any]) -> Any:
    values = {}
    for name, required, read in _readers(kind):
        if read is None:
            values[name] = _read(_FLAT, found)
        elif name in found:
            values[name] = read(found[name], name)
        elif required:
            raise InputError(f"{name} is missing")
    return kind(**values)


@cache  # a list has many rows
def _readers(kind: Any) -> tuple[tuple[str, bool, _Read | None], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (
            each.name,
            each.default is MISSING and each.default_factory is MISSING,
            None if hints[each.name] is _FLAT else _reader(hints[each.name]),
        )
        for each in fields(kind)
    )


def _reader(hint: Any) -> _Read:
    """Return what checks a value against *hint*."""
    if get_origin(hint) is Annotated:
        return _reader(get_args(hint)[0])
    if hint is Domain:
        return _domain
    if hint is object:
        return lambda value, name: value
    if is_dataclass(hint):
        return lambda value, name: _read(hint, _of(dict, value, name))
    match get_origin(hint):
        case origin if origin is Union or origin is UnionType:
            inner = _reader(next(each for each in get_args(hint) if each is not NoneType))
            return lambda value, name: None if value is None else inner(value, name)
        case origin if origin is list:
            each = _reader(get_args(hint)[0])
            return lambda value, name: [each(one, name) for one in _of(list, value, name)]
        case origin if origin is dict:
            each = _reader(get_args(hint)[1])
            return lambda value, name: {key: each(one, name) for key, one in _of(dict, value, name).items()}
    if hint is float:
        return lambda value, name: float(_number(value, name))
    return lambda value, name: _of(hint, value, name)


def _of(kind: Any, value: object, name: str) -> Any:
    if type(value) is not kind:
        raise InputError(f"{name} is not {_WORDS[kind]}")
    return value


_WORDS = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object"}


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} is not a number")
    return value


def _domain(value: object, name: str) -> Domain:
    """Raises: DomainError, which is an InputError."""
    return parse_domain(_of(str, value, name))
