"""gnj: a job queue to embed in a Python application.

`GNJ` is the way in; the rest are the words one needs with it. Importing gnj loads no database, GraphQL or web library.
"""

from typing import TYPE_CHECKING, Any

from gnj.access import Principal, RequestContext
from gnj.app import GNJ
from gnj.graphql.limits import Limits
from gnj.operations.spec import Operation
from gnj.queue.errors import CancelRequested, GnjError, SchemaError, SchemaFrozen, Snooze, WrongDatabase
from gnj.queue.events import Event
from gnj.queue.model import Batch, Hold, Job, NewJob, Pipeline
from gnj.queue.retry import Exponential, Fixed, Linear
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.where import In, Op, Where
from gnj.settings import Settings
from gnj.transaction import AsyncTransaction, Transaction
from gnj.worker import Context, Handlers, Worker

if TYPE_CHECKING:
    from gnj.worker.remote import RemoteWorker

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
    "SchemaError",
    "SchemaFrozen",
    "Settings",
    "Snooze",
    "Transaction",
    "Where",
    "Worker",
    "WrongDatabase",
]


def __getattr__(name: str) -> Any:
    if name == "RemoteWorker":  # it loads asyncio, and needs what others need not have
        from gnj.worker.remote import RemoteWorker

        return RemoteWorker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
