"""Records as GraphQL: types, inputs, lists and counts made from their attributes. It knows no record by name.

A `Shape` says how the rows of a record look on the wire; a `Catalog` of shapes writes the schema's text and gives the
bindables that resolve it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ariadne import InputType, SchemaBindable
from graphql import GraphQLField, GraphQLObjectType, GraphQLResolveInfo, GraphQLSchema

from gnj.graphql.associations import Loads, Many, One, Source
from gnj.graphql.limits import DEFAULTS, Limits
from gnj.graphql.plans import Reads
from gnj.queue import lists
from gnj.queue.errors import SchemaError
from gnj.queue.model import Attribute, Kind, Record, RecordT, by_wire
from gnj.queue.ordering import selected
from gnj.queue.storage import Select

Resolver: TypeAlias = Callable[..., Any]

_SCALARS: Mapping[Kind, str] = {
    Kind.INT: "Int",
    Kind.ID: "Int",
    Kind.TEXT: "String",
    Kind.BOOL: "Boolean",
    Kind.FLOAT: "Float",
    Kind.JSON: "SequelizeJSON",
    Kind.TIME: "Date",
}
LIST_ARGUMENTS = "id: Int, where: SequelizeJSON, limit: Int, order: String, offset: Int"
"""The arguments of every list and count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How the rows of a record look on the wire.

    Args:
        name: The name of the object type; `nameInput` is that of its input type.
        record: The record.
        description: What the type's description says.
        hidden: Wire names of attributes the type leaves out.
        nullable: Wire names of attributes that may be null on the wire though the record's never are.
        read_only: Wire names of attributes the input type leaves out.
        associations: What the rows lead to.
        has_input: Whether there is an input type.
    """

    name: str
    record: type[Record]
    description: str
    hidden: Collection[str] = ()
    nullable: Collection[str] = ()
    read_only: Collection[str] = ()
    associations: Sequence[One | Many] = ()
    has_input: bool = True

    def attributes(self) -> Mapping[str, Attribute]:
        """The attributes the object type shows, by wire name."""
        return {name: a for name, a in by_wire(self.record).items() if name not in self.hidden}

    def inputs(self) -> Mapping[str, Attribute]:
        """The attributes the input type takes, by wire name."""
        return {name: a for name, a in self.attributes().items() if name not in self.read_only}

    def nested(self) -> list[One | Many]:
        """The associations the input type takes, and which have no effect there."""
        return [a for a in self.associations if isinstance(a, One) or a.nested]


@dataclass(frozen=True, slots=True)
class Resolvers:
    """Binds resolvers to fields of an object type; an Ariadne bindable.

    Unlike Ariadne's ObjectType it never takes a resolver's place: `SchemaError` is raised for a field that has one, or
    that the type does not have.
    """

    type: str
    fields: Mapping[str, Resolver]

    def bind_to_schema(self, schema: GraphQLSchema) -> None:
        """Sets the resolvers."""
        fields = fields_of(schema, self.type)
        for name, resolve in self.fields.items():
            if name not in fields:
                raise SchemaError(f"there is a resolver for {self.type}.{name}, but no such field")
            if fields[name].resolve is not None:
                raise SchemaError(f"{self.type}.{name} has two resolvers")
            fields[name].resolve = resolve


def fields_of(schema: GraphQLSchema, type: str) -> Mapping[str, GraphQLField]:
    """The fields of the object type of that name; raises `SchemaError` when there is none."""
    found = schema.type_map.get(type)
    if not isinstance(found, GraphQLObjectType):
        raise SchemaError(f"the schema has no object type {type}")
    fields: Mapping[str, GraphQLField] = found.fields
    return fields


def refuse_unresolved(schema: GraphQLSchema) -> None:
    """Raises `SchemaError` when a field has no resolver: graphql-core would quietly look for an attribute or give null."""
    for name, kind in schema.type_map.items():
        if isinstance(kind, GraphQLObjectType) and not name.startswith("__") and kind is not schema.subscription_type:
            for field, definition in kind.fields.items():
                if definition.resolve is None:
                    raise SchemaError(f"{name}.{field} has no resolver")


class Catalog:
    """Shapes that lead to each other.

    Args:
        shapes: All of them; associations name them by their names.
        loads_of: Gives, from a resolver's context, the `Loads` of its request.
    """

    def __init__(self, shapes: Sequence[Shape], loads_of: Callable[[Any], Loads]) -> None:
        self.shapes = {shape.name: shape for shape in shapes}
        self._loads_of = loads_of

    def type_defs(self) -> str:
        """The object types and input types, as text."""
        parts = []
        for shape in self.shapes.values():
            parts.append(self._object(shape))
            if shape.has_input:
                parts.append(self._input(shape))
        return "\n\n".join(parts)

    def bindables(self) -> list[SchemaBindable]:
        """What resolves the types of `type_defs`."""
        result: list[SchemaBindable] = []
        for shape in self.shapes.values():
            resolvers: dict[str, Resolver] = {
                name: Reads(a.name, text=a.enum is not None) for name, a in shape.attributes().items()
            }
            resolvers |= {a.name: self._association_resolver(a) for a in shape.associations}
            result.append(Resolvers(shape.name, resolvers))
            if shape.has_input:
                names = {name: attribute.name for name, attribute in shape.inputs().items()}
                nested = frozenset(association.name for association in shape.nested())
                result.append(InputType(f"{shape.name}Input", _without(nested), names))
        return result

    def _object(self, shape: Shape) -> str:
        lines = [f'"""{shape.description}"""', f"type {shape.name} {{"]
        for name, attribute in shape.attributes().items():
            required = "" if attribute.nullable or name in shape.nullable else "!"
            lines.append(f"  {name}: {_SCALARS[attribute.kind]}{required}")
        for association in shape.associations:
            target = self.shapes[association.shape].name
            if isinstance(association, One):
                lines.append(f"  {association.name}(order: String): {target}")
            else:
                item = f"{target}!" if association.whole else target
                lines.append(f"  {association.name}(order: String, limit: Int, offset: Int): [{item}]")
        return "\n".join([*lines, "}"])

    def _input(self, shape: Shape) -> str:
        lines = [f"input {shape.name}Input {{"]
        lines += [f"  {name}: {_SCALARS[attribute.kind]}" for name, attribute in shape.inputs().items()]
        for association in shape.nested():
            target = f"{self.shapes[association.shape].name}Input"
            lines.append(f"  {association.name}: {target if isinstance(association, One) else f'[{target}]'}")
        return "\n".join([*lines, "}"])

    def _association_resolver(self, association: One | Many) -> Resolver:
        kind, loads_of = self.shapes[association.shape].record, self._loads_of
        if isinstance(association, One):

            def one(row: Record, info: GraphQLResolveInfo[Any], **_order: object) -> Record | None:
                return loads_of(info.context).one(association, kind, row)

            return one

        def many(
            row: Record,
            info: GraphQLResolveInfo[Any],
            order: str | None = None,
            limit: int | None = None,
            offset: int | None = None,
        ) -> Sequence[Record]:
            return loads_of(info.context).many(association, kind, row, (order, limit, offset))

        return many


def find(
    source: Source,
    record: type[RecordT],
    tenant: str,
    *,
    id: int | None = None,
    where: Any = None,
    order: str | None = None,
    limit: int | None = None,
    offset: int | None = None,
    limits: Limits = DEFAULTS,
) -> list[RecordT]:
    """A list's rows by arguments as they come from the wire. Raises `InvalidInput`."""
    return source.find(record, _select(record, _by_id(id), where, order, limit, offset, limits), tenant=tenant)


def count(source: Source, record: type[Record], tenant: str, *, id: int | None = None, where: Any = None) -> int:
    """How many rows a list would have without a limit. Raises `InvalidInput`."""
    return source.count(record, lists.condition(record, where, _by_id(id)), tenant=tenant)


def among(
    rows: Sequence[RecordT],
    record: type[RecordT],
    equals: Mapping[str, Any],
    *,
    where: Any = None,
    order: str | None = None,
    limit: int | None = None,
    offset: int | None = None,
    limits: Limits = DEFAULTS,
) -> list[RecordT]:
    """`find`, among rows that are not stored but made. Raises `InvalidInput`."""
    return selected(rows, _select(record, equals, where, order, limit, offset, limits))


def _select(
    record: type[Record],
    equals: Mapping[str, Any],
    where: Any,
    order: str | None,
    limit: int | None,
    offset: int | None,
    limits: Limits,
) -> Select:
    return Select(
        where=lists.condition(record, where, equals),
        order=() if order is None else lists.wire_order(record, order),
        limit=lists.limit(limit, default=limits.page, high=limits.max_page),
        offset=lists.offset(offset, high=limits.max_offset),
    )


def _by_id(id: int | None) -> Mapping[str, int]:
    return {} if id is None else {"id": id}


def _without(names: Collection[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Gives input values by attribute names, less those of nested objects."""
    return lambda values: {name: value for name, value in values.items() if name not in names}
