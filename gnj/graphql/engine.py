"""Runs GraphQL operations against one schema: cached documents, limits, synchronous execution, one shape of errors.

graphql-core is called directly. Through Ariadne as it comes, one `acquireJob` without a database costs 2.3 ms, because it
parses and validates every time; here, 2.5 ms the first time and 55 us from then on (benchmarks/graphql_cpu.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeGuard, cast

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
    Ended,
    ErrorBody,
    Stage,
    field_errors,
    known,
    refused,
    request_errors,
    unavailable,
    variable_errors,
    wording,
)
from gnj.graphql.items import check_items
from gnj.graphql.plans import Plan, Planner, Replay
from gnj.graphql.rules import Operation, Rules, check_rows, operations
from gnj.queue import deadline
from gnj.queue.errors import SchemaError
from gnj.queue.later import Later, may_wait


@dataclass(slots=True, eq=False)
class Document:
    """A document that is valid for the schema and within the limits."""

    node: DocumentNode
    operations: Mapping[str | None, Operation]
    """By name; None names an operation without one."""
    executed: bool = False
    """Whether it was before."""
    plans: dict[str | None, Plan | None] = field(default_factory=dict)
    """How those are executed that came after it was; None: by graphql-core."""


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
    on, where the rules allow it. A `discreet` one repeats no values of a request in what it says of it. Raises `SchemaError`
    when a resolver is an `async def`, and what graphql-core raises when the schema is invalid.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        rules: Rules | None = None,
        *,
        introspects: Callable[[], bool] | None = None,
        discreet: bool = False,
    ) -> None:
        assert_valid_schema(schema)
        _refuse_async_resolvers(schema)
        self.schema = schema
        self._open = rules or Rules()
        self._closed = replace(self._open, introspection=False)
        self._introspects = introspects
        self._discreet = discreet
        self.limits = limits = self._open.limits
        self._planner = Planner(schema)
        self._cache: DocumentCache[Document] = DocumentCache(limits.cached_documents, limits.cached_bytes)

    @property
    def rules(self) -> Rules:
        """What documents are held to at this moment."""
        return self._open if self._introspects is None or self._introspects() else self._closed

    def document(self, query: str) -> Document | Outcome:
        """The document of this text, from the cache if it was seen before; an Outcome says why it is refused."""
        rules = self.rules  # once: what was checked by one set must not be kept as if by the other
        key = rules.introspection  # which is all that the two sets of this engine differ in
        document = self._cache.get(query, key)
        if document is not None:
            return document
        may_wait()  # to parse and validate takes milliseconds
        limits = rules.limits
        if len(query) > limits.characters:
            message = f"Syntax Error: the document has more than {limits.characters:,} characters."
            return _refused(Stage.PARSE, message)
        try:
            node = parse(query, max_tokens=limits.tokens)
            found = operations(self.schema, node, rules)
        except GraphQLSyntaxError as error:
            return Outcome({"errors": self._request_errors([error], Stage.PARSE)}, Stage.PARSE)
        except GraphQLError as error:
            return Outcome({"errors": self._request_errors([error], Stage.VALIDATE)}, Stage.VALIDATE)
        errors = validate(
            self.schema,
            node,
            max_errors=limits.validation_errors,
            hide_suggestions=not rules.introspection,
        )
        if errors:
            return Outcome({"errors": self._request_errors(errors, Stage.VALIDATE)}, Stage.VALIDATE)
        document = Document(node, found)
        self._cache.put(query, key, document, weight(query, node.token_count or 0))
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
        begun = self.begin(query, variables, operation_name, context, queries_only=queries_only, later=False)
        return cast("Outcome", begun)

    def begin(
        self,
        query: str,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        context: Any = None,
        *,
        queries_only: bool = False,
        later: bool = True,
    ) -> Outcome | Later[Outcome]:
        """As `execute`, for who can go on with other work meanwhile; without `later`, nothing else."""
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
        values = dict(variables or {})
        if (over := self._over(operation, values)) is not None:
            return over
        limits = self.limits

        def ended(ran: dict[str, Any] | Replay | None) -> Outcome:
            if isinstance(ran, dict):
                return Outcome({"data": ran}, Stage.EXECUTE)
            executor = self._executor(document, operation, values, operation_name, context, replay=ran)
            return executor if isinstance(executor, Outcome) else self._executed(executor)

        def ended_later(get: Callable[[], dict[str, Any] | Replay]) -> Outcome:
            try:
                with deadline.instead(limit):
                    return ended(get())
            except Ended as reached:
                return _ended(reached)

        with deadline.within(limits.operation_seconds, limits.statement_seconds) as limit:
            plan = self._plan(document, operation)
            coerced = None if plan is None else plan.coerced(values)
            if coerced is None or not (plan and plan.prompt):
                may_wait()
            try:
                ran = None if plan is None or coerced is None else plan.run(coerced, context, later=later)
            except Ended as reached:
                return _ended(reached)
            if isinstance(ran, Replay):
                may_wait()
            return ran.then(ended_later) if isinstance(ran, Later) else ended(ran)

    def _plan(self, document: Document, operation: Operation) -> Plan | None:
        node, plans = operation.node, document.plans
        name = node.name.value if node.name else None
        if name not in plans:
            may_wait()
            # with its values in the text, it will hardly come again
            if not document.executed and not self._planner.waits(node):
                document.executed = True
                return None
            plans[name] = self._planner.plan(document.node, node)
        return plans[name]

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
        if (over := self._over(operation, values)) is not None:
            return over
        executor = self._executor(document, operation, values, operation_name, context)
        if isinstance(executor, Outcome):
            return executor
        source = create_source_event_stream(executor)
        if isinstance(source, ExecutionResult):
            return Outcome(
                {"errors": field_errors(source.errors or [], self.limits, discreet=self._discreet)}, Stage.EXECUTE
            )
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
            message = wording(f'Unknown operation named "{name[: self.limits.echo]}".', self.limits.echo)
            return _refused(Stage.OPERATION, message)
        return operation

    def _over(self, operation: Operation, variables: dict[str, Any]) -> Outcome | None:
        limits = self.limits
        try:
            if operation.rows.sized:
                check_rows(operation, variables, limits)
            if variables:
                check_items(self.schema, operation.node, variables, limits)
        except GraphQLError as error:
            return Outcome({"errors": self._request_errors([error], Stage.VALIDATE)}, Stage.VALIDATE)
        return None

    def _executor(
        self,
        document: Document,
        operation: Operation,
        variables: dict[str, Any],
        operation_name: str | None,
        context: Any,
        root: Any = None,
        replay: Replay | None = None,
    ) -> Executor[Any] | Outcome:
        hide = not self.rules.introspection
        # Not execute(): its executor prepares for @defer and @stream, 10 % of the time of a small mutation.
        executor = Executor.build(
            self.schema,
            document.node,
            root_value=root,
            context_value=context,
            raw_variable_values=variables,
            operation_name=operation_name,
            middleware=None if replay is None else (replay,),
            is_awaitable=_refuse_awaitable,
            is_async_iterable=_not_async_iterable,
            hide_suggestions=hide,
        )
        if isinstance(executor, list):
            return self._bad_variables(executor, operation, variables, hide_suggestions=hide)
        return executor

    def _executed(self, executor: Executor[Any]) -> Outcome:
        limits = self.limits
        try:
            with deadline.within(limits.operation_seconds, limits.statement_seconds):
                result = executor.execute_operation()
        except Ended as reached:
            return _ended(reached)
        if not isinstance(result, ExecutionResult):
            raise TypeError("a synchronous execution gave no result")
        if not result.errors:
            return Outcome({"data": result.data}, Stage.EXECUTE)
        empty = result.data is None or all(value is None for value in result.data.values())
        return Outcome(
            {"errors": field_errors(result.errors, limits, discreet=self._discreet), "data": result.data},
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
        try:
            bodies = variable_errors(
                self.schema,
                operation.node,
                variables,
                self.limits,
                hide_suggestions=hide_suggestions,
                discreet=self._discreet,
            )
        except RecursionError:
            # only in-process callers get here: a request's JSON is not nested that deep
            bodies = []
        return Outcome({"errors": bodies or self._request_errors(errors, Stage.VARIABLES)}, Stage.VARIABLES)

    def _request_errors(self, errors: Sequence[GraphQLError], stage: Stage) -> list[ErrorBody]:
        return request_errors(errors, stage, self.limits, discreet=self._discreet)


def _refused(stage: Stage, message: str) -> Outcome:
    return Outcome({"errors": [refused(message, CODES[stage])]}, stage)


def _ended(reached: Ended) -> Outcome:
    return Outcome({"errors": [known(reached.error)], "data": None}, Stage.EXECUTE)


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
