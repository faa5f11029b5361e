"""Documents and variables made at random for any schema: most of them fit, and some do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
)

WORDS = ("mail", "thumb", "queued", "processing", "successful", "failed", "w1", "id desc", "2024-01-02", "[1]", "", "ü")
SCALARS: Mapping[str, Sequence[Any]] = {
    "Int": (1, 2, 3, 4, 5, 0, 10),
    "Float": (1, 0.5, -2),
    "Boolean": (True, False),
    "ID": ("a", 7),
    "String": WORDS,
    "Date": ("2024-01-02T03:04:05Z", "2024-01-02", 86_400_000),
    "SequelizeJSON": ({"a": 1}, {}, [1, {"b": None}], 5, True, '{"c": 2}', {"status": "queued"}),
}
WRONG: tuple[Any, ...] = (
    None,
    2**31,
    -(2**31) - 1,
    1.5,
    1.0,
    "1",
    "x",
    True,
    [],
    {},
    ["a", None],
    {"id": "x"},
    {"no": 1},
    [[1]],
    -5,
)


class Documents:
    """Makes them for operations on these root fields; the others of the schema are left alone."""

    def __init__(self, schema: GraphQLSchema, random: Random, wrong: float = 0.02) -> None:
        self._schema = schema
        self._random = random
        self._wrong = wrong

    def one(self, kind: str, roots: Sequence[str]) -> tuple[str, dict[str, Any]]:
        """The text of a query or a mutation, and its variables."""
        self._variables: dict[str, tuple[str, Any]] = {}
        self._fragments: dict[str, str] = {}
        type_ = self._schema.query_type if kind == "query" else self._schema.mutation_type
        assert type_ is not None
        picked = self._random.choices(roots, k=self._random.choice((1, 1, 1, 2, 3)))
        fields = [self._field(type_, name, f"r{n}: " if self._odds(0.7) else "", 2) for n, name in enumerate(picked)]
        body = "{" + " ".join(fields) + "}"
        declared = ", ".join(f"${name}: {text}" for name, (text, _) in self._variables.items())
        heading = f"{kind} {self._random.choice(('', 'Name'))} {f'({declared})' if declared else ''}"
        given = {
            name: value for name, (_, value) in self._variables.items() if value is not ... or self._odds(self._wrong)
        }
        return " ".join([heading, body, *self._fragments.values()]), {
            name: None if value is ... else value for name, value in given.items()
        }

    def _odds(self, odds: float) -> bool:
        return self._random.random() < odds

    def _field(self, parent: GraphQLObjectType, name: str, alias: str, depth: int) -> str:
        if name == "__typename":
            return alias + name
        field = parent.fields[name]
        given = []
        for argument, definition in field.args.items():
            if isinstance(definition.type, GraphQLNonNull) or self._odds(0.4):
                given.append(f"{argument}: {self._argument(definition.type)}")
        inner = get_named_type(field.type)
        selection = "" if is_leaf_type(inner) else self._selection(inner, depth - 1)
        directive = self._random.choice(("@skip(if: false)", "@include(if: false)")) if self._odds(0.03) else ""
        arguments = f"({', '.join(given)})" if given else ""
        return f"{alias}{name}{arguments} {directive}{selection}"

    def _selection(self, type_: Any, depth: int) -> str:
        names = [name for name, field in type_.fields.items() if depth > 0 or is_leaf_type(get_named_type(field.type))]
        leaves = [name for name in names if is_leaf_type(get_named_type(type_.fields[name].type))]
        picked = self._random.choices(leaves, k=self._random.choice((1, 3, 6)))
        if self._odds(0.15):
            picked.append(self._random.choice(names))
        if self._odds(0.3):
            picked.insert(self._random.randrange(len(picked)), "__typename")
        texts = [self._field(type_, name, "other: " if self._odds(0.05) else "", depth) for name in picked]
        if self._odds(0.2):
            fragment = f"f{len(self._fragments)}"
            self._fragments[fragment] = ""  # its name is taken, whatever it will spread itself
            self._fragments[fragment] = f"fragment {fragment} on {type_.name} {self._selection(type_, 0)}"
            texts += [f"...{fragment}"] * self._random.choice((1, 2))
        if self._odds(0.03):
            texts.append("... {" + self._random.choice(leaves) + "}")
        return "{" + " ".join(texts) + "}"

    def _argument(self, type_: Any) -> str:
        if self._odds(0.6):
            return self._variable(type_)
        return self._literal(type_, self.value(type_))

    def _variable(self, type_: Any) -> str:
        name = f"v{len(self._variables)}"
        text, value = str(type_), self.value(type_)
        if self._odds(0.1) and not text.endswith("!"):
            text += "!"
        elif self._odds(0.15):
            text = f"{text.removesuffix('!')} = {self._literal(type_, self.value(type_))}"
            value = ... if self._odds(0.7) else value
        elif not text.endswith("!") and self._odds(0.1):
            value = ...
        self._variables[name] = text, value
        return f"${name}"

    def value(self, type_: Any) -> Any:
        """A value of an input type, as JSON."""
        random = self._random
        if self._odds(self._wrong):
            return random.choice(WRONG)
        if isinstance(type_, GraphQLNonNull):
            return self.value(type_.of_type)
        if self._odds(0.05):
            return None
        if isinstance(type_, GraphQLList):
            return [self.value(type_.of_type) for _ in range(random.choice((1, 1, 2, 0)))]
        if isinstance(type_, GraphQLEnumType):
            return random.choice(list(type_.values))
        if isinstance(type_, GraphQLInputObjectType):
            return self._object(type_)
        return random.choice(SCALARS[type_.name])

    def _object(self, type_: GraphQLInputObjectType) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name in self._random.sample(list(type_.fields), k=min(3, len(type_.fields))):
            field = type_.fields[name].type
            if is_leaf_type(get_named_type(field)) or self._odds(0.1):
                given[name] = self.value(field)
        for name, each in type_.fields.items():
            if isinstance(each.type, GraphQLNonNull) or (name in ("id", "type", "status") and self._odds(0.7)):
                given[name] = self.value(each.type)
        return given

    def _literal(self, type_: Any, value: Any) -> str:
        if isinstance(type_, GraphQLNonNull):
            return self._literal(type_.of_type, value)
        if self._odds(0.05) and isinstance(type_, (GraphQLList, GraphQLInputObjectType)):
            return self._literal_with_variable(type_)
        if isinstance(value, dict):
            fields = getattr(type_, "fields", {})
            return "{" + ", ".join(f"{k}: {self._literal(getattr(fields.get(k), 'type', None), v)}" for k, v in value.items()) + "}"  # fmt: skip
        if isinstance(value, list):
            return f"[{', '.join(self._literal(getattr(type_, 'of_type', None), each) for each in value)}]"
        if isinstance(value, bool) or value is None:
            return {True: "true", False: "false", None: "null"}[value]
        if isinstance(value, str):
            quote = '"' if not isinstance(type_, GraphQLEnumType) else ""
            return quote + value.replace("\\", "\\\\").replace('"', '\\"') + quote
        return str(value)

    def _literal_with_variable(self, type_: Any) -> str:
        if isinstance(type_, GraphQLList):
            return f"[{self._variable(type_.of_type)}]"
        name = self._random.choice(list(type_.fields))
        return f"{{{name}: {self._variable(type_.fields[name].type)}}}"
