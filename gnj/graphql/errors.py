"""What a client is told when something fails, made in this one place.

An error that gnj raises on purpose keeps its code and message. What graphql-core says about a document or its variables
keeps the wording of graphql-js 16, which the clients of GNJ 5.1.0 match (spec/gnj-graphql.md, section 5). Everything else
is "Internal error" with an id under which the log has the whole story: no SQL, no path, no driver's name leaves the
process (security.md, section 1).
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from graphql import GraphQLError, GraphQLSchema, Undefined, type_from_ast
from graphql.language import FieldNode, OperationDefinitionNode
from graphql.type import GraphQLInputType, is_non_null_type
from graphql.utilities import validate_input_value

from gnj.graphql.limits import Limits
from gnj.queue.errors import GnjError, StorageUnavailable

logger = logging.getLogger("gnj.graphql")

ErrorBody = dict[str, Any]
"""One entry of `errors` in a response: message, locations, path, extensions."""


class Ended(BaseException):
    """Ends an operation: `error` is its answer, without data. What a field raises else is told once for each row it is asked of.

    No `Exception`, since graphql-core would make a field's error of it, and go on.
    """

    def __init__(self, error: GnjError) -> None:
        super().__init__(str(error))
        self.error = error


class Stage(StrEnum):
    """How far an operation came; decides the code of its errors and the HTTP status (spec/gnj-graphql.md, section 1)."""

    PARSE = "parse"
    """The document is not GraphQL, or too long to be read."""
    VALIDATE = "validate"
    """The document does not fit the schema or the limits."""
    OPERATION = "operation"
    """The document has no operation of that name, or one that this transport does not serve."""
    METHOD = "method"
    """The operation is no query, and only queries are allowed here."""
    VARIABLES = "variables"
    """The variables do not fit the operation."""
    EXECUTE = "execute"
    """The operation ran; its errors stand beside its data."""


CODES: Mapping[Stage, str] = {
    Stage.PARSE: "GRAPHQL_PARSE_FAILED",
    Stage.VALIDATE: "GRAPHQL_VALIDATION_FAILED",
    Stage.OPERATION: "OPERATION_RESOLUTION_FAILURE",
    Stage.METHOD: "OPERATION_RESOLUTION_FAILURE",
    Stage.VARIABLES: "BAD_USER_INPUT",
}
"""`extensions.code` of errors before execution, as Apollo Server names them."""

# graphql-core 3.3 says these three in its own words, and quotes names with ' where graphql-js 16 has ".
_REWORDED = (
    (
        re.compile(r"Argument '\w+\.(\w+)\((\w+):\)' of type '([^']+)' is required, but it was not provided\."),
        r'Field "\1" argument "\2" of type "\3" is required, but it was not provided.',
    ),
    (
        re.compile(r"Argument '(@\w+)\((\w+):\)' of type '([^']+)' is required, but it was not provided\."),
        r'Directive "\1" argument "\2" of type "\3" is required, but it was not provided.',
    ),
    (
        re.compile(r"Expected value of non-null type '([^']+)' not to be None\."),
        r'Expected non-nullable type "\1" not to be null.',
    ),
)
_REPEATS = (
    (re.compile(r"(?:, but encountered error|[,.;?] ?[Ff]ound: ).*", re.DOTALL), "."),
    (re.compile(r"( cannot represent [\w\s-]{0,60}value): .*", re.DOTALL), r"\1."),
    (re.compile(r"^Value '.*' does not exist in ", re.DOTALL), "The value does not exist in "),
    (re.compile(r"^(Syntax Error: .*?(?:Unexpected|found) \w+) ['\"].*", re.DOTALL), r"\1."),
    (re.compile(r"^(Syntax Error: Invalid [\w ]+)[:,].*", re.DOTALL), r"\1."),
)
"""Where graphql-core 3.3 repeats values, and what is left there without them."""
_QUOTED = re.compile(r"'([^'\"\n]*)'")


def wording(message: str, echo: int, *, discreet: bool = False) -> str:
    """A message of graphql-core in the words of graphql-js 16, cut to `echo` characters; a discreet one repeats no value that the
    document or its variables have.
    """
    for pattern, replacement in _REPEATS if discreet else ():
        message = pattern.sub(replacement, message, count=1)
    # cut before the patterns run: the message may repeat a megabyte of input
    message = message[: echo + 1]
    for pattern, replacement in _REWORDED:
        message = pattern.sub(replacement, message)
    message = _QUOTED.sub(r'"\1"', message)
    return message if len(message) <= echo else message[: echo - 1] + "…"


def report(error: BaseException, where: str, log: logging.Logger = logger) -> str:
    """Log an unexpected error with its traceback; gives the id by which a client can name it."""
    error_id = secrets.token_hex(4)
    log.error("Internal error %s in %s", error_id, where[:200], exc_info=error, extra={"error_id": error_id})
    return error_id


def masked(error: BaseException, where: str, log: logging.Logger = logger) -> ErrorBody:
    """The entry for an error nobody expected: it tells nothing but the id, and the log tells all."""
    error_id = report(error, where, log)
    return {
        "message": "Internal error",
        "extensions": {"code": "INTERNAL_SERVER_ERROR", "errorId": error_id},
    }


def known(error: GnjError) -> ErrorBody:
    """The entry for an error that gnj raised on purpose.

    An attribute `extensions` of the error (a mapping of JSON values, such as the position of a bad rule in
    spec/transform-jobs.md) is passed on beside the code.
    """
    more: Mapping[str, Any] = getattr(error, "extensions", {})
    return {"message": str(error), "extensions": {**more, "code": error.code}}


def refused(message: str, code: str) -> ErrorBody:
    """The entry for a request that was refused before there was an operation."""
    return {"message": message, "extensions": {"code": code}}


def request_errors(
    errors: Iterable[GraphQLError], stage: Stage, limits: Limits, *, discreet: bool = False
) -> list[ErrorBody]:
    """The entries for what graphql-core found wrong before execution."""
    return [
        _located(
            error,
            {
                "message": wording(error.message, limits.echo, discreet=discreet),
                "extensions": {"code": CODES[stage]},
            },
        )
        for error in errors
    ]


def field_errors(errors: Sequence[GraphQLError], limits: Limits, *, discreet: bool = False) -> list[ErrorBody]:
    """The entries for what went wrong while fields were resolved."""
    return [_located(error, _field_error(error, limits, discreet=discreet)) for error in errors]


def unavailable(errors: Sequence[GraphQLError]) -> bool:
    """Whether one of them says that the database cannot be reached."""
    return any(isinstance(_cause(error), StorageUnavailable) for error in errors)


def variable_errors(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    limits: Limits,
    *,
    hide_suggestions: bool,
    discreet: bool = False,
) -> list[ErrorBody]:
    """The entries for variables that do not fit, in the words of graphql-js 16; empty if all of them fit."""
    found = _variable_errors(schema, operation, variables, limits, hide_suggestions=hide_suggestions, discreet=discreet)
    result: list[ErrorBody] = []
    for error in found:
        if len(result) == limits.validation_errors:
            error = GraphQLError("Too many errors processing variables, error limit reached.")
        body = {"message": error.message, "extensions": {"code": CODES[Stage.VARIABLES]}}
        result.append(_located(error, body))
        if len(result) > limits.validation_errors:
            break
    return result


def _variable_errors(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    limits: Limits,
    *,
    hide_suggestions: bool,
    discreet: bool,
) -> Iterator[GraphQLError]:
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        type_: GraphQLInputType = type_from_ast(schema, definition.type)  # type: ignore[assignment]
        value = variables.get(name, Undefined)
        if value is Undefined:
            if is_non_null_type(type_) and definition.default_value is None:
                message = f'Variable "${name}" of required type "{type_}" was not provided.'
                yield GraphQLError(_cut(message, limits.echo), definition)
        elif value is None and is_non_null_type(type_):
            message = f'Variable "${name}" of non-null type "{type_}" must not be null.'
            yield GraphQLError(_cut(message, limits.echo), definition)
        else:
            invalid: list[tuple[str, list[str | int]]] = []
            validate_input_value(
                value,
                type_,
                lambda error, path, invalid=invalid: invalid.append((error.message, path)),  # type: ignore[misc]
                hide_suggestions,
            )
            for inner, path in invalid:
                shown = "" if discreet else f" {_shown(value, path)}"
                message = f'Variable "${name}" got invalid value{shown}{_at(name, path)}; '
                told = wording(inner, limits.echo, discreet=discreet)
                yield GraphQLError(_cut(message + told, limits.echo), definition)


def _shown(value: Any, path: list[str | int]) -> str:
    for key in path:
        value = value[key]
    if isinstance(value, str):
        value = value[:60]
    text = ""
    try:
        # piece by piece: the value may have megabytes, of which 60 characters are shown
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
            text += piece
            if len(text) > 60:
                break
    except (TypeError, ValueError):
        text = type(value).__name__
    return _cut(text, 60)


def _at(name: str, path: list[str | int]) -> str:
    if not path:
        return ""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f' at "{_cut(name + steps, 60)}"'


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _cause(error: GraphQLError) -> BaseException:
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _field_error(error: GraphQLError, limits: Limits, *, discreet: bool) -> ErrorBody:
    cause = _cause(error)
    if isinstance(cause, GnjError):
        return known(cause)
    # graphql-core locates what a resolver or a result did at the field, and a bad argument at the argument's value:
    # `query($n: Int) {f(n: $n)}` with n: Int! = 5 and a variable of null is the client's mistake.
    if isinstance(cause, GraphQLError) and error.nodes and not isinstance(error.nodes[0], FieldNode):
        return {
            "message": wording(error.message, limits.echo, discreet=discreet),
            "extensions": {"code": CODES[Stage.VARIABLES]},
        }
    return masked(cause, "/".join(map(str, error.path or ())))


def _located(error: GraphQLError, body: ErrorBody) -> ErrorBody:
    message, extensions = body["message"], body["extensions"]
    result: ErrorBody = {"message": message}
    if error.locations:
        result["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path is not None:
        result["path"] = error.path
    result["extensions"] = extensions
    return result
