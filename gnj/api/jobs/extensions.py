"""SDL of the host's: read, and held against the names there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

from graphql import (
    DirectiveDefinitionNode,
    DocumentNode,
    GraphQLError,
    GraphQLSyntaxError,
    NamedTypeNode,
    Node,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    TypeDefinitionNode,
    TypeExtensionNode,
    Visitor,
    parse,
    parse_type,
    visit,
)

from gnj.operations.annotations import described
from gnj.operations.modes import Root
from gnj.operations.registered import Extension, Mapped
from gnj.operations.spec import Origin

SCALARS: Final = frozenset({"SequelizeJSON", "Date", "String", "Int", "Float", "Boolean", "ID"})
"""The scalars whose ways are gnj's and GraphQL's."""
OURS: Final = Origin("gnj", "", 0)
_ROOTS: Final = frozenset(Root)


class Names:
    """The types and root fields there are, and whose they are."""

    def __init__(self) -> None:
        self.types: dict[str, Origin] = dict.fromkeys(SCALARS, OURS)
        self.fields: dict[tuple[str, str], Origin] = {}

    @classmethod
    def of(cls, ours: str) -> Self:
        """Those of a text of gnj's own."""
        names = cls()
        for node in parse(ours).definitions:
            if isinstance(node, TypeDefinitionNode):
                names.types[node.name.value] = OURS
            if isinstance(node, (ObjectTypeDefinitionNode, ObjectTypeExtensionNode)):
                for each in node.fields or ():
                    names.fields[node.name.value, each.name.value] = OURS
        return names

    def define(self, name: str, origin: Origin) -> None:
        """Notes a type. Raises `SchemaError` where there is one of that name."""
        there = self.types.setdefault(name, origin)
        if there is not origin:
            raise origin.error(f"there are two types of that name: {_whose(there)} the other", name)

    def field(self, type: str, name: str, origin: Origin) -> None:
        """Notes a field. Raises `SchemaError` where there is one of that name."""
        if (type, name) in self.fields:
            there = self.fields[type, name]
            raise origin.error(f"there are two fields of that name: {_whose(there)} the other", f"{type}.{name}")
        self.fields[type, name] = origin

    def check(self, types: Iterator[str], origin: Origin, what: str) -> None:
        """Raises `SchemaError` where one of these types, of fields and arguments, does not exist."""
        for name in types:
            if name in (Root.MUTATION, Root.SUBSCRIPTION):
                # below a query it would be reached by GET, and so by any page
                raise origin.error(f"{name} is a root, and no type of a field", what)
            if name not in self.types:
                raise origin.error(f"there is no type {name}", what)


def _whose(origin: Origin) -> str:
    return "gnj's own is" if origin is OURS else f"that of {origin.name} [{origin.file}:{origin.line}] is"


@dataclass(slots=True)
class Parsed:
    """An extension, read."""

    extension: Extension
    document: DocumentNode
    types: list[str] = field(default_factory=list)
    """Types of its own."""
    fields: list[tuple[Root, str]] = field(default_factory=list)
    """Its root fields."""
    extended: list[tuple[str, str]] = field(default_factory=list)
    """Its fields of other types than its own."""

    def define(self, names: Names) -> None:
        """Notes what it defines. Raises `SchemaError`."""
        for node in self.document.definitions:
            if isinstance(node, TypeDefinitionNode):
                if node.name.value in _ROOTS:
                    raise self._error(node, f"write `extend type {node.name.value}`: it is there already")
                names.define(node.name.value, self.origin_at(node))
                self.types.append(node.name.value)
            elif not isinstance(node, (ObjectTypeExtensionNode, DirectiveDefinitionNode, TypeExtensionNode)):
                raise self._error(
                    node, f"{node.kind.replace('_', ' ')}: types and their extensions are all it may have"
                )
        for node in self.document.definitions:
            if isinstance(node, ObjectTypeExtensionNode):
                self._extend(node, names)
            elif isinstance(node, TypeExtensionNode) and names.types.get(node.name.value) is OURS:
                raise self._error(node, f"{node.name.value} is gnj's own and takes what it takes")

    def _extend(self, node: ObjectTypeExtensionNode, names: Names) -> None:
        type = node.name.value
        for each in node.fields or ():
            name = each.name.value
            names.field(type, name, self.origin_at(each))
            if type in _ROOTS:
                self.fields.append((Root(type), name))
            elif type not in self.types:
                self.extended.append((type, name))

    def check(self, names: Names) -> None:
        """Raises `SchemaError` where it names a type that does not exist."""
        for node in self.document.definitions:
            if isinstance(node, TypeExtensionNode) and node.name.value not in _ROOTS:
                names.check(iter([node.name.value]), self.origin_at(node), node.name.value)
            for each in getattr(node, "fields", None) or ():
                what = f"{node.name.value}.{each.name.value}"  # type: ignore[attr-defined]
                names.check(_types_in(each), self.origin_at(each), what)

    def origin_of(self, root: Root, name: str) -> Origin:
        """Where a root field stands."""
        for node in self.document.definitions:
            if isinstance(node, ObjectTypeExtensionNode) and node.name.value == root:
                for each in node.fields or ():
                    if each.name.value == name:
                        return self.origin_at(each)
        return self.extension.origin

    def origin_at(self, node: Node) -> Origin:
        """Where a part of the text stands, as far as that can be told: in which call, in which line of its text."""
        there = self.extension.origin
        line = node.loc.start_token.line if node.loc is not None else 0
        return Origin(f"{there.name}, line {line} of its type_defs", there.file, there.line)

    def _error(self, node: Node, problem: str) -> Exception:
        name = getattr(getattr(node, "name", None), "value", None)
        return self.origin_at(node).error(problem, name)


def parsed(extension: Extension) -> Parsed:
    """The extension, read. Raises `SchemaError` where its text is no SDL."""
    if not extension.type_defs.strip():
        return Parsed(extension, DocumentNode(definitions=()))
    try:
        return Parsed(extension, parse(extension.type_defs))
    except GraphQLSyntaxError as error:
        line = error.locations[0].line if error.locations else 0
        raise extension.origin.error(f"line {line} of its type_defs is no SDL: {error.message}") from error


def written(mapped: Mapped, what: str) -> str:
    """The text of the field of a mapping. Raises `SchemaError` where a type is none."""
    operation, origin = mapped.operation, mapped.origin
    texts = []
    for name, text in {**operation.args, "": operation.type}.items():
        told = f"the type of {name}" if name else "the result"
        try:
            parse_type(text)
        except (GraphQLError, TypeError) as error:
            raise origin.error(f"{told} is {text!r}, which is no type of GraphQL", what) from error
        texts.append(f"{name}: {text}")
    given = f"({', '.join(texts[:-1])})" if operation.args else ""
    description = operation.description if operation.description is not None else operation.resolve.__doc__
    field = f"{described(description, '  ')}  {mapped.name}{given}{texts[-1]}"
    try:
        field_types(field)
    except GraphQLError as error:
        raise origin.error(f"a name is none that GraphQL takes: {error}", what) from error
    return field


def field_types(text: str) -> Iterator[str]:
    """The names of the types that the text of a field names."""
    return _types_in(parse(f"type T {{ {text} }}"), without="T")


def _types_in(node: Node, without: str | None = None) -> Iterator[str]:
    found: list[str] = []

    class Find(Visitor):
        def enter_named_type(self, node: NamedTypeNode, *_: object) -> None:
            found.append(node.name.value)

    visit(node, Find())
    return iter(name for name in found if name != without)
