"""gnj: a job queue to embed in a Python application.

`GNJ` is the way in; the rest are the words one needs with it. Importing gnj loads no database, GraphQL or web library.
"""

from gnj.app import GNJ
from gnj.queue.errors import CancelRequested, GnjError, Snooze
from gnj.queue.events import Event
from gnj.queue.model import Batch, Hold, Job, NewJob, Pipeline
from gnj.queue.retry import Exponential, Fixed, Linear
from gnj.queue.service import Queue
from gnj.queue.states import JobStatus
from gnj.queue.where import In, Op, Where
from gnj.settings import Settings
from gnj.worker import Context, Handlers, Worker

__version__ = "0.1.0"

__all__ = [
    "GNJ",
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
    "Linear",
    "NewJob",
    "Op",
    "Pipeline",
    "Queue",
    "Settings",
    "Snooze",
    "Where",
    "Worker",
]
