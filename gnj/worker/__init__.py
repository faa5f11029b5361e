"""What runs jobs: handlers, what they are given, and the worker that calls them."""

from gnj.worker.context import Context
from gnj.worker.handlers import Handlers
from gnj.worker.worker import Worker

__all__ = ["Context", "Handlers", "Worker"]
