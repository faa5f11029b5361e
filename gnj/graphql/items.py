"""How many list items the variables of an operation hold: counted before they are coerced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    is_leaf_type,
    type_from_ast,
)

from gnj.graphql.limits import Limits


def check_items(
    schema: GraphQLSchema, operation: OperationDefinitionNode, variables: Mapping[str, Any], limits: Limits
) -> None:
    """Raises GraphQLError when the variables have more than `limits.items` list items of the schema's types.

    Nearly every request is let through by a count that knows no types; what is inside a JSON value only counts there.
    """
    if not _more(variables.values(), limits.items):
        return
    left = limits.items
    todo: list[tuple[Any, Any]] = [
        (type_from_ast(schema, definition.type), variables.get(definition.variable.name.value))
        for definition in operation.variable_definitions or ()
    ]
    while todo:
        type_, value = todo.pop()
        kind = _bare(type_)
        if isinstance(kind, GraphQLList) and isinstance(value, list):
            left -= len(value)
            if left < 0:
                raise GraphQLError(f"The variables must not have more than {limits.items:,} items in lists.")
            if not is_leaf_type(_bare(kind.of_type)):
                todo += [(kind.of_type, item) for item in value]
        elif isinstance(kind, GraphQLInputObjectType) and isinstance(value, dict):
            todo += [(field.type, value[name]) for name, field in kind.fields.items() if name in value]


def _bare(type_: Any) -> Any:
    return type_.of_type if isinstance(type_, GraphQLNonNull) else type_


def _more(values: Iterable[Any], limit: int) -> bool:
    """Whether lists anywhere in these JSON values have more than `limit` items together."""
    left = limit
    todo = list(values)
    while todo:
        value = todo.pop()
        if isinstance(value, list):
            left -= len(value)
            if left < 0:
                return True
            todo += value
        elif isinstance(value, dict):
            todo += value.values()
    return False
