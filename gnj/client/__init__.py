"""A small client of the jobs API, for programs that have no database: the functions of the npm package
`@teamstarter/graphql-node-jobs`, each also for an event loop.

Jobs are dicts as they are on the wire: camelCase keys, dates as texts. Every function raises `ClientError` when the server
refuses, its subclass `Unreachable` when it does not answer, and `InvalidInput` for arguments that cannot be sent. Programs
that run jobs all day have more from `gnj.RemoteWorker`: many at a time, heartbeats, the handlers of `gnj.Handlers`.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from gnj.client import operations
from gnj.client.checking import Ask, Call, Check, Job, Updates, Wait, drive, drive_async, takes_updates
from gnj.client.errors import ClientError, Unreachable
from gnj.client.http import Client
from gnj.queue.errors import InvalidInput
from gnj.queue.values import Json

__all__ = [
    "Client",
    "ClientError",
    "Unreachable",
    "check_for_jobs",
    "check_for_jobs_async",
    "create_job",
    "create_job_async",
    "get_new_client",
    "get_new_client_async",
    "list_jobs",
    "list_jobs_async",
    "toggle_hold_job_type",
    "toggle_hold_job_type_async",
]


def get_new_client(url: str, token: str | None = None, headers: Mapping[str, str] | None = None) -> Client:
    """A client of the GraphQL endpoint at `url`, such as `https://example.com/jobs/graphql`. Asks nothing yet.

    Args:
        url: The endpoint.
        token: Sent as `Authorization: Bearer …`.
        headers: Sent with every request.
    """
    return Client(url, token, headers)


async def get_new_client_async(url: str, token: str | None = None, headers: Mapping[str, str] | None = None) -> Client:
    """Likewise, without keeping the event loop while certificates are read. Both kinds of functions take either client."""
    return await asyncio.to_thread(Client, url, token, headers)


def create_job(client: Client, job: Mapping[str, Any]) -> Job:
    """Creates a job from the fields of `jobInput`: `{"type": …, "input": …}`; gives the job.

    A job that has its `jobUniqueId` already is given instead: with one, a call that ended in `Unreachable` can be repeated.
    """
    return dict(client.ask(operations.create(job)))


async def create_job_async(client: Client, job: Mapping[str, Any]) -> Job:
    """`create_job` on an event loop."""
    return dict(await client.ask_async(operations.create(job)))


def list_jobs(
    client: Client,
    *,
    where: Json = None,
    order: str | None = None,
    limit: int | None = None,
    offset: int | None = None,
) -> Sequence[Job]:
    """Jobs, always as the server has them now; at most 1,000 unless `limit` says otherwise.

    Args:
        client: Whom to ask.
        where: A condition, such as `{"type": "mail", "status": ["failed", "cancelled"]}`.
        order: `"priorityLevel,reverse:id"`; by id unless given.
        limit: How many at most.
        offset: How many to leave out first.
    """
    return list(client.ask(operations.jobs(where, order, limit, offset)))


async def list_jobs_async(
    client: Client,
    *,
    where: Json = None,
    order: str | None = None,
    limit: int | None = None,
    offset: int | None = None,
) -> Sequence[Job]:
    """`list_jobs` on an event loop."""
    return list(await client.ask_async(operations.jobs(where, order, limit, offset)))


def toggle_hold_job_type(client: Client, type: str) -> dict[str, Any] | None:
    """Holds a type, so that none of its jobs is handed out, and gives the hold; or releases it, and gives None."""
    hold: dict[str, Any] | None = client.ask(operations.toggle(type))
    return hold


async def toggle_hold_job_type_async(client: Client, type: str) -> dict[str, Any] | None:
    """`toggle_hold_job_type` on an event loop."""
    hold: dict[str, Any] | None = await client.ask_async(operations.toggle(type))
    return hold


def check_for_jobs(
    client: Client,
    fn: Callable[..., Any],
    *,
    type_list: Sequence[str],
    worker_id: str | None = None,
    worker_type: str | None = None,
    looping: bool = True,
    loop_time: float = 1.0,
    cancel_on_request: bool = False,
    stop: threading.Event | None = None,
) -> Job | None:
    """Claims the first free job and calls `fn(job)` or `fn(job, updates)` with it; what it returns becomes the output.

    An exception fails the job, `gnj.CancelRequested` cancels it; None leaves the output as it is. The claim lasts as long
    as the server's default lease, an hour as a rule: there is no heartbeat.

    Args:
        client: Whom to ask.
        fn: Runs a job. `updates.update_processing_info(info)` stores its progress.
        type_list: The types to claim.
        worker_id: Names this worker in its jobs; a random name unless given.
        worker_type: What kind of worker it is.
        looping: Whether to go on with the next job, and to ask again after `loop_time` where there is none; a server that
            does not answer is then asked again and again, too.
        loop_time: Seconds.
        cancel_on_request: Whether `update_processing_info` raises `CancelRequested` once that was asked for.
        stop: Ends a loop when it is set, after the job under way.

    Returns:
        The job as it ended, or None where there was none; None of a loop, which ends by `stop`, or by an exception such as
        KeyboardInterrupt: a job under way is given back then.
    """
    check = Check.of(type_list, worker_id, worker_type, looping, loop_time)
    if inspect.iscoroutinefunction(fn):
        raise InvalidInput("an async function is for check_for_jobs_async")
    extra = takes_updates(fn)
    told = threading.Event() if stop is None else stop

    def carry_out(step: Ask | Call | Wait) -> Any:
        match step:
            case Ask():
                return client.ask(step.operation)
            case Call():
                return fn(step.job, Updates(step.job, cancel_on_request, client.ask)) if extra else fn(step.job)
            case Wait():
                return told.wait(step.seconds)

    return drive(check.steps(), carry_out)


async def check_for_jobs_async(
    client: Client,
    fn: Callable[..., Any],
    *,
    type_list: Sequence[str],
    worker_id: str | None = None,
    worker_type: str | None = None,
    looping: bool = True,
    loop_time: float = 1.0,
    cancel_on_request: bool = False,
    stop: asyncio.Event | None = None,
) -> Job | None:
    """`check_for_jobs` on an event loop: what `fn` returns is awaited if it can be, and so is
    `updates.update_processing_info(info)`. Cancelling the task gives a job under way back.
    """
    check = Check.of(type_list, worker_id, worker_type, looping, loop_time)
    extra = takes_updates(fn)
    told = asyncio.Event() if stop is None else stop

    async def carry_out(step: Ask | Call | Wait) -> Any:
        match step:
            case Ask():
                return await client.ask_async(step.operation)
            case Call():
                updates = Updates(step.job, cancel_on_request, client.ask_async)
                result = fn(step.job, updates) if extra else fn(step.job)
                return await result if inspect.isawaitable(result) else result
            case Wait():
                # a wait of no time, too, lets others run
                with suppress(TimeoutError):
                    await asyncio.wait_for(told.wait(), max(step.seconds, 0.001))
                return told.is_set()

    return await drive_async(check.steps(), carry_out)
