"""How values are converted by a plan (`gnj.graphql.plans`): as graphql-core does it, with less asking.

Each conversion gives what graphql-core would. Where that would not be content - or may not be - it raises, no matter what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

from graphql import (
    GraphQLBoolean,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLString,
    Undefined,
    ValueNode,
    is_leaf_type,
    is_required_input_field,
)
from graphql.language import ListValueNode, ObjectValueNode, VariableNode
from graphql.utilities import coerce_input_literal

from gnj.graphql.scalars import json_out

Convert: TypeAlias = Callable[[Any], Any]


class Unusual(Exception):
    """It is for graphql-core to deal with."""


def unusual(_: object = None) -> Any:
    """Raises `Unusual`."""
    raise Unusual


_LOW: Final = -(2**31)
_HIGH: Final = 2**31
_CONSTANTS: Final = (str, int, float, bool, type(None))


def _kind(type_: Any) -> type | None:
    """The Python type whose values are given and sent as they are."""
    if type_ is GraphQLString:
        return str
    return bool if type_ is GraphQLBoolean else None


# Of what comes in, see `coerce_input_value` of graphql-core. It goes by the fields of an input type, of which a job has 40; here
# it goes by what was given.


def given(type_: GraphQLInputType, objects: Callable[[GraphQLInputObjectType], Convert]) -> Convert:
    """Takes the value of a variable of that type; `objects` give what takes those of input objects."""
    if isinstance(type_, GraphQLNonNull):
        inner = given(type_.of_type, objects)
        return lambda value: unusual() if value is None else inner(value)
    if isinstance(type_, GraphQLList):
        return _given_list(given(type_.of_type, objects))
    return objects(type_) if isinstance(type_, GraphQLInputObjectType) else _given_leaf(type_)


def _none_within(_: GraphQLInputObjectType) -> Convert:
    # those of rows lead to each other without end, and nobody sends such
    return lambda value: value if value is None else unusual()


def _given_leaf(type_: GraphQLLeafType) -> Convert:
    coerce, kind = type_.coerce_input_value, _kind(type_)
    whole = type_ is GraphQLInt

    def take(value: Any) -> Any:
        if value is None or type(value) is kind or (whole and type(value) is int and _LOW <= value < _HIGH):
            return value
        coerced = coerce(value)
        return unusual() if coerced is Undefined else coerced

    return take


def _given_list(item: Convert) -> Convert:
    def take(value: Any) -> Any:
        if value is None:
            return None
        return [item(each) for each in value] if type(value) is list else unusual()

    return take


def given_object(type_: GraphQLInputObjectType) -> Convert:
    """Takes an input object in which there is no other one."""
    fields = type_.fields
    if type_.is_one_of or any(f.default is not None or f.default_value is not Undefined for f in fields.values()):
        raise Unusual
    table = {
        name: (place, field.out_name or name, given(field.type, _none_within))
        for place, (name, field) in enumerate(fields.items())
    }
    required = {name for name, field in fields.items() if is_required_input_field(field)}
    finish = type_.out_type

    def take(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not dict or not required <= value.keys():
            raise Unusual
        # in the order of the type's fields; no two have the same place, so that the rest is never compared
        found = sorted([(*table[name], each) for name, each in value.items()])
        return finish({name: convert(each) for _, name, convert, each in found})

    return take


def literal(node: ValueNode, type_: GraphQLInputType) -> Callable[[], Any]:
    """Gives the value that is written in the document: made anew each time, unless nobody can change it."""
    todo: list[ValueNode] = [node]
    while todo:
        match todo.pop():
            case VariableNode():
                raise Unusual
            case ListValueNode(values=values):
                todo += values
            case ObjectValueNode(fields=fields):
                todo += [field.value for field in fields]

    def make() -> Any:
        value = coerce_input_literal(node, type_)
        return unusual() if value is Undefined else value

    value = make()
    return (lambda: value) if type(value) in _CONSTANTS else make


# Of what goes out, see `complete_value` of graphql-core.


def sent_as_is(type_: Any) -> type | None:
    """The Python type of most values of that type, which are sent as they are."""
    return dict if is_leaf_type(type_) and type_.coerce_output_value is json_out else _kind(type_)


def leaf(type_: GraphQLLeafType) -> Convert:
    """Completes a value of a scalar or an enum."""
    serialize, kind = type_.coerce_output_value, sent_as_is(type_)
    whole = type_ is GraphQLInt

    def complete(value: Any) -> Any:
        if value is None or type(value) is kind or (whole and type(value) is int and _LOW <= value < _HIGH):
            return value
        _check(value)
        sent = serialize(value)
        if sent is None:
            raise Unusual
        _check(sent)
        return sent

    return complete


def _check(value: Any) -> None:
    if isinstance(value, Exception) or hasattr(value, "__await__") or value is Undefined:
        raise Unusual


def text(complete: Convert) -> Convert:
    """Completes what `str` makes of a value."""
    return lambda value: complete(None if value is None else str(value))


def constant(value: str) -> Convert:
    """Completes nothing: it is always the same."""
    return lambda _: value


def required(complete: Convert) -> Convert:
    """Completes a value that must not be null."""

    def complete_required(value: Any) -> Any:
        completed = complete(value)
        return unusual() if completed is None else completed

    return complete_required


def items(complete: Convert) -> Convert:
    """Completes a list."""

    def complete_all(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not list and type(value) is not tuple:
            raise Unusual
        return [complete(each) for each in value]

    return complete_all


def row(fields: Sequence[tuple[str, str, type | None, Convert]]) -> Convert:
    """Completes an object: of each field its key, the attribute it reads, the type of values sent as they are, the rest."""
    keys = tuple((key, kind, convert) for key, _, kind, convert in fields)
    # of one name it gives the value, of several a tuple of them: so there is always one more
    read = attrgetter(*(name for _, name, _, _ in fields), "__class__")

    def complete(value: Any) -> Any:
        if value is None:
            return None
        _check(value)
        return {
            key: each if type(each) is kind else convert(each)
            for (key, kind, convert), each in zip(keys, read(value), strict=False)
        }

    return complete
