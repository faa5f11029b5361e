"""Figures for Prometheus: `/metrics`, in its text format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gnj.access import Kind
from gnj.api.http import Response, Route, content
from gnj.api.queues.declare import Answer, Call, Face, Operation
from gnj.api.queues.face import routes_of
from gnj.queue.derived import STATES
from gnj.queue.figures import LATELY, Quantiles, Recent
from gnj.queue.listing import QueueSummary
from gnj.queue.model import PushWorker

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MAX_QUEUES: Final = 1_000
"""Queues that are told of, the first by name: each is some ten series, and thousands of them would choke who collects them."""

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def exposition(queues: Iterable[QueueSummary], recent: Mapping[str, Recent], workers: Iterable[PushWorker]) -> str:
    """The metrics as text: one sample a line, the ones of a name together, after what they are."""
    return "".join(f"{line}\n" for line in _lines(list(queues), recent, list(workers)))


def _lines(queues: list[QueueSummary], recent: Mapping[str, Recent], workers: list[PushWorker]) -> Iterator[str]:
    yield from _head("gnj_queue_jobs", "Jobs by state.")
    for each in queues:
        for state in STATES:
            yield _sample("gnj_queue_jobs", each.counts.get(state, 0), queue=each.name, state=state)
    yield from _head("gnj_queue_paused", "Whether no jobs are handed out.")
    for each in queues:
        yield _sample("gnj_queue_paused", int(each.paused), queue=each.name)
    some = {each.name: recent[each.name] for each in queues if each.name in recent}
    name = "gnj_queue_ended_last_minute"
    yield from _head(name, f"Jobs that ended in the last {LATELY} seconds and are kept.")
    for each in queues:
        lately = some.get(each.name)
        yield _sample(name, 0 if lately is None else lately.completed, queue=each.name, outcome="completed")
        yield _sample(name, 0 if lately is None else lately.failed, queue=each.name, outcome="failed")
    for name, text, key in (
        ("gnj_queue_wait_seconds", "How long jobs waited that ended in the last minute.", "wait"),
        ("gnj_queue_run_seconds", "How long the last try ran of jobs that ended in the last minute.", "run"),
    ):
        yield from _head(name, text)
        for queue, lately in some.items():
            quantiles: Quantiles = getattr(lately, key)
            for share, value in (("0.5", quantiles.p50), ("0.95", quantiles.p95)):
                if value is not None:
                    yield _sample(name, value / 1000, queue=queue, quantile=share)
    yield from _head("gnj_push_worker_up", "Whether a push worker is called; 0: it failed too often, and was disabled.")
    for worker in workers:
        yield _sample("gnj_push_worker_up", int(worker.disabled_at is None), queue=worker.type)


def _head(name: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} gauge"


def _sample(name: str, value: float, **labels: str) -> str:
    told = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
    return f"{name}{{{told}}} {value:.15g}"


def _metrics(call: Call) -> Response:
    queues = call.queue.queues(tenant=call.tenant)[:MAX_QUEUES]
    recent = call.queue.recent(tenant=call.tenant)
    workers = call.queue.registrations(call.tenant)[:MAX_QUEUES]
    return content(exposition(queues, recent, workers).encode(), MEDIA_TYPE)


_EXAMPLE: Final = """\
# HELP gnj_queue_jobs Jobs by state.
# TYPE gnj_queue_jobs gauge
gnj_queue_jobs{queue="mail",state="waiting"} 3
"""

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET",
        path="/metrics",
        name="get_prometheus",
        kind=Kind.READ,
        summary="Tells how queues stand, for Prometheus.",
        description=(
            f"At most {MAX_QUEUES:,} queues, those of the token's tenant. Part of the face `metrics`, which a host may leave out."
        ),
        answer=_metrics,
        answers={
            200: Answer(
                summary="The figures in the text format of Prometheus.",
                schema={"type": "string"},
                example=_EXAMPLE,
                content_type="text/plain",
            )
        },
    ),
)


def routes(face: Face) -> list[Route]:
    """The route."""
    return routes_of(face, OPERATIONS)
