"""The limits of a document, measured before graphql-core validates it.

Every fragment is measured once and its measure reused wherever it is spread, so the work is linear in the document even
where the expanded operation would have 2^25 fields; the counts themselves are exact (Python's integers do not overflow).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLSyntaxError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_composite_type,
    is_interface_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)

from gnj.graphql.limits import Limits

LIMIT_ARGUMENT = "limit"
"""The argument of a list field that says how many rows it gives at most."""

_INTROSPECTION = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What a document is held to besides the GraphQL specification; part of the key of the document cache."""

    limits: Limits = field(default_factory=Limits)
    introspection: bool = True
    """Whether `__schema` and `__type` may be asked for. Off, errors suggest no names either."""


@dataclass(eq=False, frozen=True, slots=True)
class _Sized:
    """A list field whose `limit` is a variable."""

    variable: str
    default: int
    inner: Rows


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows a selection asks for per row of its parent: a number, plus lists sized by variables."""

    static: int = 0
    sized: Mapping[_Sized, int] = field(default_factory=dict)
    """How often each such list stands in the expanded selection."""

    def count(self, variables: Mapping[str, Any]) -> int:
        """The rows with these values of the variables."""
        return self.count_knowing(variables, {})

    def count_knowing(self, variables: Mapping[str, Any], known: dict[_Sized, int]) -> int:
        """The same; `known` remembers the lists already counted, which fragments may spread many times."""
        total = self.static
        for term, times in self.sized.items():
            if term not in known:
                value = variables.get(term.variable)
                # no value is no limit; what is no integer is refused later, when the variables are coerced
                limit = max(0, value) if isinstance(value, int) else term.default
                known[term] = limit * (1 + term.inner.count_knowing(variables, known))
            total += times * known[term]
        return total

    def plus(self, other: Rows, times: int = 1) -> Rows:
        """This and `times` the other."""
        if not other.sized:
            return Rows(self.static + times * other.static, self.sized)
        sized = dict(self.sized)
        for term, count in other.sized.items():
            sized[term] = sized.get(term, 0) + times * count
        return Rows(self.static + times * other.static, sized)


@dataclass(slots=True)
class _Measure:
    """The counts of one selection set, fragments expanded."""

    depth: int = 0
    introspection_depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0
    rows: Rows = field(default_factory=Rows)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a document that keeps the limits."""

    node: OperationDefinitionNode
    rows: Rows
    """What it asks for; to be held against `Limits.rows` when the variables are known."""


def operations(schema: GraphQLSchema, document: DocumentNode, rules: Rules) -> dict[str | None, Operation]:
    """The operations of a document by their names (None: it has none).

    Raises `GraphQLError` when the document breaks a limit, and `GraphQLSyntaxError` for a selection without fields, which
    graphql-core takes and graphql-js 16 does not. Does not check what the specification's own rules check.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    measuring = _Measuring(schema, rules)
    for name in _inner_first(fragments):
        fragment = fragments[name]
        parent = schema.get_type(fragment.type_condition.name.value)
        measuring.fragments[name] = measure = measuring.selection(fragment.selection_set, parent)
        measure.directives += len(fragment.directives or ())
    result: dict[str | None, Operation] = {}
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            measure = measuring.selection(node.selection_set, schema.get_root_type(node.operation))
            measure.directives += len(node.directives or ())
            _check(node, measure, rules.limits)
            result[node.name.value if node.name else None] = operation = Operation(node, _defaults(node, measure.rows))
            if not operation.rows.sized:
                check_rows(operation, {}, rules.limits)
    return result


def check_rows(operation: Operation, variables: Mapping[str, Any], limits: Limits) -> None:
    """Raises `GraphQLError` when the operation with these variables asks for more than `Limits.rows`."""
    if operation.rows.count(variables) > limits.rows:
        raise GraphQLError(
            f"The operation asks for more than {limits.rows:,} rows: a limit multiplies what stands below it, "
            f"a list without one counts {limits.rows_without_limit}.",
            operation.node,
        )


def _check(node: OperationDefinitionNode, measure: _Measure, limits: Limits) -> None:
    roots = limits.root_mutations if node.operation is OperationType.MUTATION else limits.root_fields
    for found, most, what in (
        (measure.depth, limits.depth, "levels of fields"),
        (measure.introspection_depth, limits.introspection_depth, "levels of introspection"),
        (measure.aliases, limits.aliases, "aliases"),
        (measure.fields, roots, f"root fields in a {node.operation.value}"),
        (measure.directives, limits.directives, "directives"),
    ):
        if found > most:
            raise GraphQLError(f"The operation has more than {most} {what}, fragments expanded.", node)


def _defaults(node: OperationDefinitionNode, rows: Rows) -> Rows:
    defaults = {
        definition.variable.name.value: int(definition.default_value.value[:20])
        for definition in node.variable_definitions or ()
        if isinstance(definition.default_value, IntValueNode)
    }
    return _with_defaults(rows, defaults, {}) if defaults and rows.sized else rows


def _with_defaults(rows: Rows, defaults: Mapping[str, int], done: dict[_Sized, _Sized]) -> Rows:
    sized: dict[_Sized, int] = {}
    for term, times in rows.sized.items():
        if term not in done:
            inner = _with_defaults(term.inner, defaults, done)
            done[term] = _Sized(term.variable, defaults.get(term.variable, term.default), inner)
        sized[done[term]] = times
    return Rows(rows.static, sized)


class _Measuring:
    """Measures selection sets; the fragments they spread must have been measured before."""

    def __init__(self, schema: GraphQLSchema, rules: Rules) -> None:
        self.schema = schema
        self.rules = rules
        self.fragments: dict[str, _Measure] = {}

    def selection(self, node: SelectionSetNode, parent: GraphQLNamedType | None) -> _Measure:
        """The counts of a selection set on a type (None: an unknown one, which validation will refuse)."""
        if not node.selections:
            raise _empty(node)
        total = _Measure()
        for selection in node.selections:
            total.directives += len(selection.directives or ())
            if isinstance(selection, FieldNode):
                self._add_field(total, selection, parent)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                on = self.schema.get_type(condition.name.value) if condition else parent
                _add(total, self.selection(selection.selection_set, on))
            elif isinstance(selection, FragmentSpreadNode):
                # an unknown fragment, or one that contains itself, is refused by validation
                _add(total, self.fragments.get(selection.name.value, _Measure()))
        return total

    def _add_field(self, total: _Measure, node: FieldNode, parent: GraphQLNamedType | None) -> None:
        name = node.name.value
        total.fields += 1
        total.aliases += node.alias is not None
        introspects = name in _INTROSPECTION
        if introspects and not self.rules.introspection:
            raise GraphQLError(f"Introspection is off: {name} cannot be queried.", node)
        type_ = self._type(name, parent)
        inner = self.selection(node.selection_set, get_named_type(type_)) if node.selection_set else _Measure()
        total.aliases += inner.aliases
        total.directives += inner.directives
        if introspects:
            total.introspection_depth = max(total.introspection_depth, 1 + max(inner.depth, inner.introspection_depth))
        else:
            total.depth = max(total.depth, 1 + inner.depth)
            if inner.introspection_depth:
                total.introspection_depth = max(total.introspection_depth, 1 + inner.introspection_depth)
        if type_ is not None and is_composite_type(get_named_type(type_)):
            total.rows = self._plus_field(total.rows, node, type_, inner.rows)

    def _type(self, name: str, parent: GraphQLNamedType | None) -> GraphQLOutputType | None:
        if is_object_type(parent) or is_interface_type(parent):
            definition = self.schema.get_field(parent, name)
            return definition.type if definition else None
        return None

    def _plus_field(self, rows: Rows, node: FieldNode, type_: GraphQLOutputType, inner: Rows) -> Rows:
        if is_non_null_type(type_):
            type_ = type_.of_type
        times = 1
        # what the schema tells about itself is no row: its lists have the length they have
        if is_list_type(type_) and not get_named_type(type_).name.startswith("__"):
            times = self.rules.limits.rows_without_limit
            for argument in node.arguments or ():
                if argument.name.value == LIMIT_ARGUMENT:
                    if isinstance(argument.value, VariableNode):
                        return rows.plus(Rows(0, {_Sized(argument.value.name.value, times, inner): 1}))
                    if isinstance(argument.value, IntValueNode):
                        # 20 digits are beyond any limit, and int() of 4,300 would raise
                        times = max(0, int(argument.value.value[:20]))
        return rows.plus(Rows(times)).plus(inner, times)


def _add(total: _Measure, part: _Measure) -> None:
    total.depth = max(total.depth, part.depth)
    total.introspection_depth = max(total.introspection_depth, part.introspection_depth)
    total.fields += part.fields
    total.aliases += part.aliases
    total.directives += part.directives
    total.rows = total.rows.plus(part.rows)


def _empty(node: SelectionSetNode) -> GraphQLSyntaxError:
    if node.loc is None:
        raise TypeError("the document was parsed without locations")
    return GraphQLSyntaxError(node.loc.source, node.loc.end - 1, "Expected Name, found '}'.")


def _inner_first(fragments: Mapping[str, FragmentDefinitionNode]) -> list[str]:
    """The names of the fragments, each after those it spreads. No recursion: they may be hundreds deep."""
    result: list[str] = []
    seen: set[str] = set()
    for root in fragments:
        if root in seen:
            continue
        seen.add(root)
        path: list[tuple[str, Iterator[str]]] = [(root, _spreads(fragments[root].selection_set))]
        while path:
            name, spreads = path[-1]
            inner = next((each for each in spreads if each in fragments and each not in seen), None)
            if inner is None:
                result.append(name)
                path.pop()
            else:
                seen.add(inner)
                path.append((inner, _spreads(fragments[inner].selection_set)))
    return result


def _spreads(node: SelectionSetNode) -> Iterator[str]:
    stack = [node]
    while stack:
        for selection in stack.pop().selections:
            if isinstance(selection, FragmentSpreadNode):
                yield selection.name.value
            elif isinstance(selection, (FieldNode, InlineFragmentNode)) and selection.selection_set:
                stack.append(selection.selection_set)
