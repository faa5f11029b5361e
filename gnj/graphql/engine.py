"""Runs GraphQL operations against one schema: cached documents, limits, synchronous execution, one shape of errors.

graphql-core is called directly. Through Ariadne as it comes, one `acquireJob` without a database costs 2.3 ms, because it
parses and validates every time; here, 2.5 ms the first time and 55 us from then on (benchmarks/graphql_cpu.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeGuard

from graphql import (
    ExecutionResult,
    Executor,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationType,
    assert_valid_schema,
    create_source_event_stream,
    parse,
    validate,
)
from graphql.language import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    SelectionSetNode,
)

from gnj.graphql.cache import DocumentCache, weight
from gnj.graphql.errors import (
    CODES,
    Stage,
    field_errors,
    refused,
    request_errors,
    unavailable,
    variable_errors,
    wording,
)
from gnj.graphql.items import check_items
from gnj.graphql.rules import Operation, Rules, check_rows, operations
from gnj.queue import deadline
from gnj.queue.errors import SchemaError


@dataclass(frozen=True, slots=True)
class Document:
    """A document that is valid for the schema and within the limits."""

    node: DocumentNode
    operations: Mapping[str | None, Operation]
    """By name; None names an operation without one."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an operation came to."""

    body: dict[str, Any]
    """The response as the GraphQL specification shapes it (section 7.1): `data` (not when nothing ran), `errors` (not
    when there are none). Of JSON values only, if the resolvers gave such."""

    stage: Stage
    """How far it came; `Stage.EXECUTE` means that it ran."""

    unavailable: bool = False
    """It gave no data, because the storage cannot be reached: trying again later may help."""


@dataclass(frozen=True, slots=True)
class Selected:
    """What the `subscribe` function of a root field of Subscription gives, when events come from elsewhere: the field."""

    field: str
    arguments: Mapping[str, Any]
    """Those given, coerced, by their names in Python."""

    def __aiter__(self) -> NoReturn:
        """Makes it what graphql-core takes for a stream; nobody goes through it."""
        raise TypeError(f"the events of {self.field} come from elsewhere")


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription that may begin: evaluate it with `Engine.event` once for each event."""

    field: str
    """The root field."""
    query: str
    operation_name: str | None
    variables: dict[str, Any]
    source: Any
    """What the root field's `subscribe` function gave: a `Selected`, or an async iterator of root values."""
    document: Document
    operation: Operation


class Engine:
    """Executes operations of one schema, from any number of threads.

    `rules` says what documents are held to. `introspects`, if given, is asked for each operation whether introspection is
    on, where the rules allow it. Raises `SchemaError` when a resolver is an `async def`, and what graphql-core raises when
    the schema is invalid.
    """

    def __init__(
        self, schema: GraphQLSchema, rules: Rules | None = None, *, introspects: Callable[[], bool] | None = None
    ) -> None:
        assert_valid_schema(schema)
        _refuse_async_resolvers(schema)
        self.schema = schema
        self._open = rules or Rules()
        self._closed = replace(self._open, introspection=False)
        self._introspects = introspects
        self.limits = limits = self._open.limits
        self._cache: DocumentCache[Document] = DocumentCache(limits.cached_documents, limits.cached_bytes)

    @property
    def rules(self) -> Rules:
        """What documents are held to at this moment."""
        return self._open if self._introspects is None or self._introspects() else self._closed

    def document(self, query: str) -> Document | Outcome:
        """The document of this text, from the cache if it was seen before; an Outcome says why it is refused."""
        rules = self.rules  # once: what was checked by one set must not be kept as if by the other
        document = self._cache.get(query, rules)
        if document is not None:
            return document
        limits = rules.limits
        if len(query) > limits.characters:
            message = f"Syntax Error: the document has more than {limits.characters:,} characters."
            return _refused(Stage.PARSE, message)
        try:
            node = parse(query, max_tokens=limits.tokens)
            found = operations(self.schema, node, rules)
        except GraphQLSyntaxError as error:
            return Outcome({"errors": request_errors([error], Stage.PARSE, limits)}, Stage.PARSE)
        except GraphQLError as error:
            return Outcome({"errors": request_errors([error], Stage.VALIDATE, limits)}, Stage.VALIDATE)
        errors = validate(
            self.schema,
            node,
            max_errors=limits.validation_errors,
            hide_suggestions=not rules.introspection,
        )
        if errors:
            return Outcome({"errors": request_errors(errors, Stage.VALIDATE, limits)}, Stage.VALIDATE)
        document = Document(node, found)
        self._cache.put(query, rules, document, weight(query, node.token_count or 0))
        return document

    def execute(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        context: Any = None,
        *,
        queries_only: bool = False,
    ) -> Outcome:
        """Run one operation of the document `query` and give its response; raises nothing.

        `variables`: JSON values by name. `operation_name`: needed when the document has several operations. `context`:
        given to every resolver as `info.context`. `queries_only`: refuse mutations (for GET). Subscriptions are refused;
        see `subscribe`.
        """
        found = self._found(query, operation_name)
        if isinstance(found, Outcome):
            return found
        document, operation = found
        kind = operation.node.operation
        if kind is OperationType.SUBSCRIPTION:
            message = "A subscription needs a WebSocket or a stream of Server-Sent Events."
            return _refused(Stage.OPERATION, message)
        if queries_only and kind is not OperationType.QUERY:
            return _refused(Stage.METHOD, f"GET runs queries only: send the {kind.value} with POST.")
        executor = self._executor(document, operation, dict(variables or {}), operation_name, context)
        return executor if isinstance(executor, Outcome) else self._executed(executor)

    def subscribes(self, query: str, operation_name: str | None = None) -> bool:
        """Whether the operation is a subscription; False also for one that is refused: `execute` says why."""
        found = self._found(query, operation_name)
        return not isinstance(found, Outcome) and found[1].node.operation is OperationType.SUBSCRIPTION

    def subscribe(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        context: Any = None,
    ) -> Subscription | Outcome:
        """Begin a subscription, for which `subscribes` is true; an Outcome says why it cannot begin. Raises nothing."""
        found = self._found(query, operation_name)
        if isinstance(found, Outcome):
            return found
        document, operation = found
        if operation.node.operation is not OperationType.SUBSCRIPTION:
            return _refused(Stage.OPERATION, "The operation is no subscription.")
        values = dict(variables or {})
        executor = self._executor(document, operation, values, operation_name, context)
        if isinstance(executor, Outcome):
            return executor
        source = create_source_event_stream(executor)
        if isinstance(source, ExecutionResult):
            return Outcome({"errors": field_errors(source.errors or [], self.rules.limits)}, Stage.EXECUTE)
        field = _first_field(document.node, operation.node.selection_set)
        return Subscription(field, query, operation_name, values, source, document, operation)

    def event(self, subscription: Subscription, value: Any, context: Any = None) -> Outcome:
        """The response for one event, whose root value is `value`; raises nothing."""
        begun = subscription
        executor = self._executor(
            begun.document, begun.operation, begun.variables, begun.operation_name, context, value
        )
        return executor if isinstance(executor, Outcome) else self._executed(executor)

    def _found(self, query: str, operation_name: str | None) -> tuple[Document, Operation] | Outcome:
        document = self.document(query)
        if isinstance(document, Outcome):
            return document
        operation = self.operation(document, operation_name)
        return operation if isinstance(operation, Outcome) else (document, operation)

    def operation(self, document: Document, name: str | None) -> Operation | Outcome:
        """The operation of that name, or the only one there is; an Outcome says why there is none."""
        found = document.operations
        if name is None:
            if len(found) == 1:
                return next(iter(found.values()))
            if found:
                return _refused(Stage.OPERATION, "Must provide operation name if query contains multiple operations.")
            return _refused(Stage.OPERATION, "Must provide an operation.")
        operation = found.get(name)
        if operation is None:
            message = wording(f'Unknown operation named "{name[: self.rules.limits.echo]}".', self.rules.limits.echo)
            return _refused(Stage.OPERATION, message)
        return operation

    def _executor(
        self,
        document: Document,
        operation: Operation,
        variables: dict[str, Any],
        operation_name: str | None,
        context: Any,
        root: Any = None,
    ) -> Executor[Any] | Outcome:
        limits = self.rules.limits
        try:
            if operation.rows.sized:
                check_rows(operation, variables, limits)
            check_items(self.schema, operation.node, variables, limits)
        except GraphQLError as error:
            return Outcome({"errors": request_errors([error], Stage.VALIDATE, limits)}, Stage.VALIDATE)
        hide = not self.rules.introspection
        # Not execute(): its executor prepares for @defer and @stream, 10 % of the time of a small mutation.
        executor = Executor.build(
            self.schema,
            document.node,
            root_value=root,
            context_value=context,
            raw_variable_values=variables,
            operation_name=operation_name,
            is_awaitable=_refuse_awaitable,
            is_async_iterable=_not_async_iterable,
            hide_suggestions=hide,
        )
        if isinstance(executor, list):
            return self._bad_variables(executor, operation, variables, hide_suggestions=hide)
        return executor

    def _executed(self, executor: Executor[Any]) -> Outcome:
        limits = self.rules.limits
        with deadline.within(limits.operation_seconds, limits.statement_seconds):
            result = executor.execute_operation()
        if not isinstance(result, ExecutionResult):
            raise TypeError("a synchronous execution gave no result")
        if not result.errors:
            return Outcome({"data": result.data}, Stage.EXECUTE)
        empty = result.data is None or all(value is None for value in result.data.values())
        return Outcome(
            {"errors": field_errors(result.errors, limits), "data": result.data},
            Stage.EXECUTE,
            # with some data, and above all after a mutation that succeeded, the client must not repeat the whole
            unavailable=empty and unavailable(result.errors),
        )

    def _bad_variables(
        self,
        errors: list[GraphQLError],
        operation: Operation,
        variables: Mapping[str, Any],
        *,
        hide_suggestions: bool,
    ) -> Outcome:
        limits = self.rules.limits
        try:
            bodies = variable_errors(self.schema, operation.node, variables, limits, hide_suggestions=hide_suggestions)
        except RecursionError:
            # only in-process callers get here: a request's JSON is not nested that deep
            bodies = []
        return Outcome({"errors": bodies or request_errors(errors, Stage.VARIABLES, limits)}, Stage.VARIABLES)


def _refused(stage: Stage, message: str) -> Outcome:
    return Outcome({"errors": [refused(message, CODES[stage])]}, stage)


def _first_field(document: DocumentNode, selected: SelectionSetNode) -> str:
    """The only root field of a valid subscription, which may stand in fragments."""
    first = selected.selections[0]
    if isinstance(first, FieldNode):
        return first.name.value
    if isinstance(first, InlineFragmentNode):
        return _first_field(document, first.selection_set)
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    if isinstance(first, FragmentSpreadNode):
        return _first_field(document, fragments[first.name.value].selection_set)
    raise TypeError("a selection of an unknown kind")


def _refuse_async_resolvers(schema: GraphQLSchema) -> None:
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and type_ is not schema.subscription_type:
            for name, field in type_.fields.items():
                if inspect.iscoroutinefunction(field.resolve):
                    raise SchemaError(
                        f"The resolver of {type_.name}.{name} is an async function; gnj resolves fields in a worker "
                        "thread without an event loop: make it a plain function"
                    )


def _refuse_awaitable(value: Any) -> TypeGuard[Any]:
    # graphql-core asks this of everything a resolver returns; raising makes it that field's error
    if hasattr(value, "__await__"):
        _raise_awaitable(value)
    return False


def _raise_awaitable(value: Any) -> NoReturn:
    if inspect.iscoroutine(value):
        value.close()
    raise TypeError(
        f"a resolver returned an awaitable ({type(value).__name__}): an await is missing, or it is to be a plain function"
    )


def _not_async_iterable(_value: Any) -> TypeGuard[Any]:
    return False
