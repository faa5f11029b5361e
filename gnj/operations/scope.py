"""What surrounds one run of an operation: its transaction, opened when it is first asked for, ended with it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from gnj.access import Principal, RequestContext
from gnj.operations.modes import Mode
from gnj.operations.spec import OperationSpec
from gnj.queue.errors import GnjError
from gnj.queue.service import Queue
from gnj.transaction import AsyncTransaction, Transaction


class Scope:
    """One run of one operation, for one caller.

    Args:
        spec: The operation.
        queue: The queue it works on.
        principal: On whose behalf.
        request: What hooks see of the request; a bare one within the process.
        context: What the request's resolvers share.
    """

    def __init__(
        self,
        spec: OperationSpec,
        queue: Queue,
        principal: Principal,
        request: RequestContext | None,
        context: Mapping[str, Any],
    ) -> None:
        self.spec = spec
        self.queue = queue
        self.principal = principal
        self.request = RequestContext(transport="in-process") if request is None else request
        self.context = context
        self._stack = ExitStack()
        self._open: Transaction | None = None

    @property
    def transaction(self) -> Transaction:
        """The transaction, opened now if it was not. RuntimeError: the operation has none."""
        if self._open is None:
            if self.spec.mode is Mode.NONE:
                raise RuntimeError(f"{self.spec.field} has no transaction: it was registered with transaction='none'")
            serializable = self.spec.mode is Mode.SERIALIZABLE
            inner, rows = self._stack.enter_context(self.queue.transaction(serializable=serializable))
            self._open = Transaction(inner, rows, self.principal)
        return self._open

    @property
    def tx(self) -> Transaction | AsyncTransaction:
        """The transaction as the operation takes it."""
        return AsyncTransaction(self.transaction) if self.spec.asynchronous else self.transaction

    def __enter__(self) -> Self:
        if self.spec.eager:
            _ = self.transaction
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open is not None:
            self._open.end()
        self._stack.__exit__(kind, error, traceback)


class OperationContext(dict[str, Any]):
    """The `info.context` of an operation by SDL or mapping: what the request's resolvers share, and `tx`.

    `tx` is the operation's transaction, opened when it is first looked up.
    """

    def __init__(self, scope: Scope, owner: Any) -> None:
        super().__init__(scope.context)
        self.update(principal=scope.principal, request=scope.request, gnj=owner)
        self._scope = scope

    def __missing__(self, key: str) -> Any:
        if key != "tx":
            raise KeyError(key)
        return self._scope.tx

    def get(self, key: str, default: Any = None) -> Any:
        """As that of any dict; `tx` as well."""
        return self[key] if key == "tx" or key in self else default


def perform(
    spec: OperationSpec,
    queue: Queue,
    principal: Principal,
    request: RequestContext | None,
    info: Any,
    source: Any,
    given: Mapping[str, Any],
) -> Any:
    """Runs an operation in a scope of its own and gives its result; a serializable one again while others are in its way."""
    import asyncio  # noqa: PLC0415 - `import gnj` does without it

    arguments = spec.arguments(given)

    def once() -> Any:
        # what would end the thread, the connection or the server ends the operation
        with (
            Scope(spec, queue, principal, request, info.context) as scope,
            _contained(spec, SystemExit, GeneratorExit, asyncio.CancelledError),
        ):
            if spec.asynchronous:
                run = scope.request.run_async or own_loop
                return run(partial(awaited, scope))
            result = spec.resolve(scope, source, info, arguments)
            if inspect.isawaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise TypeError(f"{spec.field} gave an awaitable, but is not an async function ({spec.origin.name})")
            return result

    async def awaited(scope: Scope) -> Any:
        # here, for asyncio lets it through to whoever runs the loop
        with _contained(spec, SystemExit):
            return await spec.resolve(scope, source, info, arguments)

    if spec.mode is Mode.SERIALIZABLE:
        return queue.again(once)
    return once()


@contextmanager
def _contained(spec: OperationSpec, *kinds: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise RuntimeError(f"{spec.field} ended with {type(error).__name__} ({spec.origin.name})") from error


def own_loop(work: Callable[[], Awaitable[Any]]) -> Any:
    """Runs a coroutine function on an event loop of its own: for calls within the process, which have no other.

    Raises `GnjError` where a loop is running: that would have to wait for itself.
    """
    import asyncio  # noqa: PLC0415 - `import gnj` does without it

    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise GnjError("an async operation cannot be waited for in the event loop's own thread: use asyncio.to_thread")

    async def wait() -> Any:
        return await work()

    return asyncio.run(wait())
