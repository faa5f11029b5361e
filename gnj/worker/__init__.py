"""What runs jobs: handlers, what they are given, and the worker that calls them."""

from typing import TYPE_CHECKING, Any

from gnj.worker.handlers import Handlers

if TYPE_CHECKING:
    from gnj.worker.context import Context
    from gnj.worker.worker import Worker

__all__ = ["Context", "Handlers", "Worker"]


def __getattr__(name: str) -> Any:
    # an application that only enqueues has neither
    if name == "Context":
        from gnj.worker.context import Context  # noqa: PLC0415

        return Context
    if name == "Worker":
        from gnj.worker.worker import Worker  # noqa: PLC0415

        return Worker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
