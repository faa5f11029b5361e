"""The handlers of `gnj demo`, which runs them with `gnj worker gnj.cli.demo_handlers:handlers`.

They reach the server that the demo started by the URL in GNJ_DEMO_SERVER, and by no URL a job could bring along.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnj.cli import demo_files
from gnj.cli.demo_client import COMPRESS, SCAN, SUMMARY, Client
from gnj.queue.errors import CancelRequested
from gnj.queue.model import Job

if TYPE_CHECKING:
    from gnj.worker import Context, Handlers

SERVER = "GNJ_DEMO_SERVER"


def scan(job: Job, ctx: Context) -> dict[str, Any]:
    """Finds the files of a folder and gives the batch, which is the next step, a job for each."""
    folder = _input(job)["folder"]
    found = demo_files.scan(Path(folder))
    ctx.progress({"files": len(found.paths)})
    with _client() as client:
        client.add_files(client.batch_of(_pipeline(job)), folder, found.paths)
    return {"files": len(found.paths), "skipped": dict(found.skipped)}


def compress(job: Job, ctx: Context) -> dict[str, Any]:
    """Compresses one file, hashes it and counts its lines."""

    def checkpoint() -> None:
        if ctx.cancel_requested:
            raise CancelRequested(f"stopped in the middle of {given['path']}")

    given = _input(job)
    return demo_files.measure(Path(given["folder"]), given["path"], checkpoint)


def summary(job: Job, _ctx: Context) -> dict[str, Any]:
    """Adds up what the jobs of the batch have found."""
    with _client() as client:
        batch = client.batch_of(_pipeline(job))
        return demo_files.total(member["output"] for member in client.members(batch, "output"))


def build() -> Handlers:
    """The registry with the handlers of the demo."""
    from gnj.worker import Handlers

    registry = Handlers()
    registry.handler(SCAN)(scan)
    registry.handler(COMPRESS)(compress)
    registry.handler(SUMMARY)(summary)
    return registry


def _client() -> Client:
    return Client(os.environ[SERVER])


def _input(job: Job) -> dict[str, Any]:
    if not isinstance(job.input, dict):
        raise TypeError("the job's input must be an object")
    return job.input


def _pipeline(job: Job) -> int:
    if job.pipeline_id is None:
        raise ValueError("the job must be a step of a pipeline")
    return job.pipeline_id


handlers = build()
