"""gnj: a job queue to embed in a Python application.

`GNJ` is the way in; the rest are the words one needs with it. Each is loaded when it is first asked for, so that importing gnj
costs nothing; no word loads a database, GraphQL or web library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnj.access import Principal, RequestContext, Target
    from gnj.app import GNJ
    from gnj.graphql.limits import Limits
    from gnj.operations.spec import Operation
    from gnj.push.signing import verify_push
    from gnj.queue.errors import CancelRequested, GnjError, SchemaError, SchemaFrozen, Snooze, WrongDatabase
    from gnj.queue.events import Event
    from gnj.queue.model import Batch, Hold, Job, NewJob, Pipeline, Schedule
    from gnj.queue.retry import Exponential, Fixed, Linear
    from gnj.queue.service import Queue
    from gnj.queue.states import JobStatus
    from gnj.queue.where import In, Op, Where
    from gnj.settings import Settings
    from gnj.transaction import AsyncTransaction, Transaction
    from gnj.worker.context import Context
    from gnj.worker.handlers import Handlers
    from gnj.worker.remote import RemoteWorker
    from gnj.worker.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "GNJ",
    "AsyncTransaction",
    "Batch",
    "CancelRequested",
    "Context",
    "Event",
    "Exponential",
    "Fixed",
    "GnjError",
    "Handlers",
    "Hold",
    "In",
    "Job",
    "JobStatus",
    "Limits",
    "Linear",
    "NewJob",
    "Op",
    "Operation",
    "Pipeline",
    "Principal",
    "Queue",
    "RemoteWorker",
    "RequestContext",
    "Schedule",
    "SchemaError",
    "SchemaFrozen",
    "Settings",
    "Snooze",
    "Target",
    "Transaction",
    "Where",
    "Worker",
    "WrongDatabase",
    "verify_push",
]


_MODULES = {
    "gnj.access": "Principal RequestContext Target",
    "gnj.app": "GNJ",
    "gnj.graphql.limits": "Limits",
    "gnj.operations.spec": "Operation",
    "gnj.push.signing": "verify_push",
    "gnj.queue.errors": "CancelRequested GnjError SchemaError SchemaFrozen Snooze WrongDatabase",
    "gnj.queue.events": "Event",
    "gnj.queue.model": "Batch Hold Job NewJob Pipeline Schedule",
    "gnj.queue.retry": "Exponential Fixed Linear",
    "gnj.queue.service": "Queue",
    "gnj.queue.states": "JobStatus",
    "gnj.queue.where": "In Op Where",
    "gnj.settings": "Settings",
    "gnj.transaction": "AsyncTransaction Transaction",
    "gnj.worker.context": "Context",
    "gnj.worker.handlers": "Handlers",
    "gnj.worker.remote": "RemoteWorker",
    "gnj.worker.worker": "Worker",
}
"""Where the words are."""
_FROM = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_FROM[name]), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
