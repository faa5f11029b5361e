"""Operations that are executed by a plan made once, in the place of graphql-core's walk through the document.

Workers send the same few documents again and again. What graphql-core finds out about them each time - which fields are
selected, how every variable and every value is converted - is found out here when a document comes for the second time:
executing `acquireJob` takes 37 us in the place of 140, what the queue does not counted (benchmarks/acquire_cpu.py).

A plan does only what it does just as graphql-core would: root fields of `OnContext` resolvers, and below them fields of `Reads`.
For all that is out of the ordinary - a variable that does not fit, a resolver that raises, a null where none may be - it
leaves the operation to graphql-core, which is given what the resolvers that were called came to: none is called twice, and
what clients are told of errors is made in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, cast

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationType,
    Undefined,
    ValueNode,
    is_leaf_type,
    is_required_argument,
    type_from_ast,
)
from graphql.language import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableDefinitionNode,
    VariableNode,
)

from gnj.graphql import conversions
from gnj.graphql.conversions import Convert, Unusual, unusual
from gnj.queue.later import Later, settled


@dataclass(frozen=True, slots=True)
class OnContext:
    """A resolver of a root field that looks at nothing but the context of the operation and the field's arguments.

    Its answer may be on its way (`Later`), where it `waits` for longer than a thread is to be kept. A `prompt` one may be called
    where nothing may wait (`gnj.queue.later.promptly`).
    """

    answer: Callable[[Any, dict[str, Any]], Any]
    waits: bool = False
    prompt: bool = False

    def __call__(self, _source: object, info: GraphQLResolveInfo[Any], /, **arguments: Any) -> Any:
        """Resolves the field, called by graphql-core."""
        return settled(self.answer(info.context, arguments))


@dataclass(frozen=True, slots=True)
class Reads:
    """A resolver that reads an attribute of the row; with `text`, as the text that `str` makes of it."""

    name: str
    text: bool = False

    def __call__(self, row: Any, _info: GraphQLResolveInfo[Any]) -> Any:
        """Resolves the field, called by graphql-core."""
        value = getattr(row, self.name)
        return str(value) if self.text and value is not None else value


@dataclass(frozen=True, slots=True)
class Obtained:
    """What a resolver came to: its value, or what it raised."""

    value: Any = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """Gives graphql-core, as its middleware, what the first root fields came to; the others it resolves."""

    obtained: Mapping[str, Obtained]

    def resolve(self, resolve: Callable[..., Any], source: Any, info: GraphQLResolveInfo[Any], /, **given: Any) -> Any:
        """Resolves any field."""
        found = self.obtained.get(cast("str", info.path.key)) if info.path.prev is None else None
        if found is None:
            return resolve(source, info, **given)
        if found.error is not None:
            raise found.error
        return found.value


_Variable: TypeAlias = tuple[str, Convert, Convert]
"""A variable of an operation: its name, what takes its value, what takes it that there is none."""


@dataclass(frozen=True, slots=True)
class _Root:
    key: str
    answer: Callable[[Any, dict[str, Any]], Any]
    arguments: Callable[[Mapping[str, Any]], dict[str, Any]]
    complete: Convert
    prompt: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """How one operation is executed."""

    _variables: Sequence[_Variable]
    _roots: Sequence[_Root]

    @property
    def prompt(self) -> bool:
        """Whether it may be run where nothing may wait: of several fields, all but the last are waited for."""
        return len(self._roots) == 1 and self._roots[0].prompt

    def coerced(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """The values of the variables; None if graphql-core has to look at them."""
        coerced: dict[str, Any] = {}
        try:
            for name, take, without in self._variables:
                value = given.get(name, Undefined)
                if value is not Undefined:
                    coerced[name] = take(value)
                elif (value := without(None)) is not Undefined:
                    coerced[name] = value
        except Exception:  # noqa: BLE001 - graphql-core will say what it is
            return None
        return coerced

    def run(
        self, variables: Mapping[str, Any], context: Any, *, later: bool = False
    ) -> dict[str, Any] | Replay | Later[dict[str, Any] | Replay]:
        """The data; or what there is when graphql-core has to execute the operation. With `later`, either may be on its way."""
        last = self._roots[-1] if later else None
        data: dict[str, Any] = {}
        obtained: dict[str, Obtained] = {}
        for root in self._roots:
            try:
                arguments = root.arguments(variables)
            except Exception:  # noqa: BLE001 - graphql-core will say what it is
                return Replay(obtained)
            try:
                value = root.answer(context, arguments)
            except Exception as error:  # noqa: BLE001 - graphql-core will say where it was
                obtained[root.key] = Obtained(error=error)
                return Replay(obtained)
            obtain = partial(_obtain, root, data, obtained)
            if root is last and isinstance(value, Later):
                return value.then(obtain)
            ran = obtain(partial(settled, value))
            if ran is not data:
                return ran
        return data


def _obtain(
    root: _Root, data: dict[str, Any], obtained: dict[str, Obtained], get: Callable[[], Any]
) -> dict[str, Any] | Replay:
    """Adds what a root field came to."""
    try:
        value = get()
    except Exception as error:  # noqa: BLE001 - graphql-core will say where it was
        obtained[root.key] = Obtained(error=error)
        return Replay(obtained)
    obtained[root.key] = Obtained(value)
    try:
        data[root.key] = root.complete(value)
    except Exception:  # noqa: BLE001 - graphql-core will say what it is
        return Replay(obtained)
    return data


class Planner:
    """Makes the plans for one schema, from any number of threads."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._objects: dict[str, Convert] = {}

    def plan(self, document: DocumentNode, operation: OperationDefinitionNode) -> Plan | None:
        """The plan of an operation of a valid document; None: graphql-core has to execute it."""
        root = self._schema.get_root_type(operation.operation)
        if root is None or operation.operation is OperationType.SUBSCRIPTION or operation.directives:
            return None
        planning = _Planning(self._schema, document, self._object)
        try:
            return Plan(
                [planning.variable(definition) for definition in operation.variable_definitions or ()],
                [planning.root(root, node) for node in planning.selected(root, operation.selection_set)],
            )
        except Unusual:
            return None

    def waits(self, operation: OperationDefinitionNode) -> bool:
        """Whether it would keep a thread for long without a plan; fragments are not looked into."""
        root = self._schema.get_root_type(operation.operation)
        return root is not None and any(
            isinstance(node, FieldNode)
            and (field := self._schema.get_field(root, node.name.value)) is not None
            and isinstance(field.resolve, OnContext)
            and field.resolve.waits
            for node in operation.selection_set.selections
        )

    def _object(self, type_: GraphQLInputObjectType) -> Convert:
        # once for all plans: what takes a job has 18 KB
        found = self._objects.get(type_.name)
        if found is None:
            found = self._objects[type_.name] = conversions.given_object(type_)
        return found


class _Planning:
    """Makes the parts of a plan; raises `Unusual` for what it cannot be made of."""

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, objects: Callable[[GraphQLInputObjectType], Convert]
    ) -> None:
        self._schema = schema
        self._objects = objects
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }

    def variable(self, definition: VariableDefinitionNode) -> _Variable:
        """A variable of the operation."""
        type_ = cast("GraphQLInputType", type_from_ast(self._schema, definition.type))
        if definition.directives:
            raise Unusual
        without: Convert = unusual if isinstance(type_, GraphQLNonNull) else lambda _: Undefined
        if definition.default_value is not None:
            default = conversions.literal(definition.default_value, type_)
            without = lambda _: default()  # noqa: E731
        return definition.variable.name.value, conversions.given(type_, self._objects), without

    def selected(self, type_: GraphQLObjectType, selection: SelectionSetNode) -> list[FieldNode]:
        """The fields of a selection in their order, fragments expanded; what stands there twice must be a plain leaf."""
        found: dict[str, FieldNode] = {}
        for node in self._fields(type_, selection, set()):
            there = found.setdefault(_key(node), node)
            if there is not node and (node.selection_set or node.arguments):
                raise Unusual
        return list(found.values())

    def _fields(self, type_: GraphQLObjectType, selection: SelectionSetNode, spread: set[str]) -> Iterator[FieldNode]:
        for node in selection.selections:
            if node.directives:
                raise Unusual
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, FragmentSpreadNode):
                fragment = self._fragments[node.name.value]
                if fragment.type_condition.name.value != type_.name or fragment.directives:
                    raise Unusual
                if node.name.value not in spread:
                    spread.add(node.name.value)
                    yield from self._fields(type_, fragment.selection_set, spread)
            else:
                raise Unusual

    def root(self, type_: GraphQLObjectType, node: FieldNode) -> _Root:
        """A root field."""
        if node.name.value == "__typename":
            return _Root(
                _key(node),
                lambda _context, _arguments: type_.name,
                lambda _given: {},
                conversions.constant(type_.name),
                prompt=True,
            )
        field = self._schema.get_field(type_, node.name.value)
        if field is None or not isinstance(field.resolve, OnContext):
            raise Unusual
        found = field.resolve
        return _Root(_key(node), found.answer, _arguments(field, node), self._completed(field.type, node), found.prompt)

    def _completed(self, type_: GraphQLOutputType, node: FieldNode) -> Convert:
        if isinstance(type_, GraphQLNonNull):
            return conversions.required(self._completed(type_.of_type, node))
        if isinstance(type_, GraphQLList):
            return conversions.items(self._completed(type_.of_type, node))
        if is_leaf_type(type_):
            return conversions.leaf(type_)
        if not isinstance(type_, GraphQLObjectType) or type_.is_type_of is not None or node.selection_set is None:
            raise Unusual
        return conversions.row([self._read(type_, each) for each in self.selected(type_, node.selection_set)])

    def _read(self, type_: GraphQLObjectType, node: FieldNode) -> tuple[str, str, type | None, Convert]:
        name = node.name.value
        if name == "__typename":
            return _key(node), "__class__", None, conversions.constant(type_.name)
        field = self._schema.get_field(type_, name)
        if field is None or not isinstance(field.resolve, Reads) or field.args:
            raise Unusual
        complete = self._completed(field.type, node)
        if field.resolve.text:
            return _key(node), field.resolve.name, None, conversions.text(complete)
        inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        return _key(node), field.resolve.name, conversions.sent_as_is(inner), complete


def _key(node: FieldNode) -> str:
    return node.alias.value if node.alias else node.name.value


_Argument: TypeAlias = tuple[str, str, Callable[[], Any] | None, bool]
"""An argument: its name, the variable it is given by ("": none), or else its literal, whether it must not be null."""


def _arguments(field: GraphQLField, node: FieldNode) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    written = {argument.name.value: argument.value for argument in node.arguments or ()}
    makers = [_argument(each, each.out_name or name, written.get(name)) for name, each in field.args.items()]

    def arguments(variables: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, variable, literal, required in makers:
            if variable in variables:
                value = made[name] = variables[variable]
                if value is None and required:
                    raise Unusual
            elif literal is not None:
                made[name] = literal()
            elif required:
                raise Unusual
        return made

    return arguments


def _argument(definition: GraphQLArgument, name: str, node: ValueNode | None) -> _Argument:
    if definition.default is not None or definition.default_value is not Undefined:
        raise Unusual
    if node is None:
        return name, "", None, is_required_argument(definition)
    if isinstance(node, VariableNode):
        return name, node.name.value, None, isinstance(definition.type, GraphQLNonNull)
    return name, "", conversions.literal(node, definition.type), False
