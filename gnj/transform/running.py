"""The handler of runs: reads a source, maps and converts its records, and writes them in batches.

A try begins by taking back what earlier ones have left, and writes everything anew: a source cannot be read from its middle.
Nobody sees any of it before the run is published, with the end of its job.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, Protocol

from gnj.queue import transforms
from gnj.queue.errors import CancelRequested, Failed, GnjError, InvalidInput, LeaseLost, Snooze, StorageError
from gnj.queue.model import Job
from gnj.queue.model_transform import (
    RUN,
    WEBHOOK,
    TransformFormat,
    TransformJob,
    TransformMapping,
    TransformRun,
    TransformSource,
)
from gnj.queue.storage import Rows
from gnj.queue.transforms import Batch, Counts
from gnj.queue.values import Json, check_json, clean_text
from gnj.transform import webhooks
from gnj.transform.application import Rules, Target, Transform
from gnj.transform.errors import RecordRejected, SourceFailed
from gnj.transform.sources import Bad, Validators
from gnj.transform.values import Record

logger = logging.getLogger("gnj.transform")

EVERY: Final = 2.0
"""Seconds after which a batch is written though it is small: a slow source shows how far it has come."""
LONGEST: Final = 6 * 3_600.0
"""Seconds of a try, most of which a mapping of slow expressions may take: it keeps a worker that others wait for."""
HEAVY: Final = 8 * 1024 * 1024
"""Characters of texts that make a batch one: a thousand records of the largest size would take gigabytes."""
_REASON: Final = 500
"""Characters of a reason that are kept, and reasons of a record."""


class Signals(Protocol):
    """What a handler learns from its worker: `gnj.worker.Context`."""

    @property
    def cancel_requested(self) -> bool:
        """Whether it should stop."""

    @property
    def lease_lost(self) -> bool:
        """Whether its claim is over."""


class Registry(Protocol):
    """Where handlers are registered: `gnj.worker.handlers.Handlers`."""

    def register(self, type: str, fn: Callable[..., Any], /) -> None:
        """Has jobs of that type run by `fn`."""


def register(handlers: Registry, transform: Transform, *, stopping: Callable[[], bool] = lambda: False) -> None:
    """Registers the handlers of runs and of webhooks.

    Args:
        handlers: Where.
        transform: What it works with.
        stopping: Whether the worker is to end soon: the try then gives way, and another one begins the run anew.
    """
    handlers.register(RUN, handled(transform, stopping=stopping))
    handlers.register(WEBHOOK, webhooks.handled(transform))


def handled(transform: Transform, *, stopping: Callable[[], bool] = lambda: False) -> Callable[..., Json]:
    """The handler, `(job, ctx)`. It refuses jobs that are those of no run; see `gnj.queue.transforms.begin`."""

    def handle(job: Job, ctx: Signals) -> Json:
        end = time.monotonic() + LONGEST

        def go_on() -> None:
            if ctx.lease_lost:
                raise LeaseLost
            if ctx.cancel_requested:
                raise CancelRequested("the run was cancelled")
            if stopping():
                raise Snooze(0)
            if time.monotonic() > end:
                raise SourceFailed(f"the run took more than {LONGEST / 3_600:g} hours", final=True)

        try:
            return asdict(_run(transform, job, go_on))
        except (LeaseLost, StorageError):
            raise
        except SourceFailed as error:
            told = str(error)
            if error.final:
                transform.queue.run(lambda unit: transforms.give_up(unit, job))
            else:
                transform.queue.run(lambda unit: transforms.explain(unit, job, told))
            raise Failed(told) from None  # what it was caused by may tell more than may be told
        except GnjError as error:  # what was saved cannot be used, or there is no such run: no other try can do better
            transform.queue.run(lambda unit: transforms.give_up(unit, job))
            raise Failed(str(error)) from error
        except (CancelRequested, Failed, Snooze):
            raise
        except Exception as error:
            id = secrets.token_hex(4)
            logger.exception("error %s in the run of job %d", id, job.id)
            transform.queue.run(lambda unit: transforms.explain(unit, job, f"Internal error {id}"))
            raise Failed(f"Internal error {id}") from error

    return handle


def _run(transform: Transform, claim: Job, go_on: Callable[[], None]) -> Counts:
    queue = transform.queue
    run, job = queue.run(lambda unit: transforms.begin(unit, claim))
    while not queue.run(lambda unit: transforms.make_room(unit, claim, run, transform.limits.runs)):
        go_on()
    with queue.storage.begin(write=False) as tx:
        source, rules, format = _parts(tx, job)
    writer = _Writer(
        transform, claim, run, transform.parts.mapping(rules.mapping), transform.parts.format(format.definition)
    )
    with transform.parts.open(source, _known(job, transform.parts.version), go_on) as reading:
        if not reading.unchanged:
            for item in reading:
                go_on()
                writer.add(item)
        go_on()
        writer.end(reading.validators, unchanged=reading.unchanged)
    return writer.counts


def _known(job: TransformJob, version: str) -> Validators | None:
    """What the source said when it was last read; None where the same records may come to something else now."""
    match job.validators:
        case {"version": made, "etag": etag, "last_modified": last_modified} if made == version:
            return Validators(etag, last_modified)
    return None


def _parts(tx: Rows, job: TransformJob) -> tuple[TransformSource, TransformMapping, TransformFormat]:
    source, rules = tx.get(TransformSource, job.source_id), tx.get(TransformMapping, job.mapping_id)
    format = tx.get(TransformFormat, job.format_id)
    if source is None or rules is None or format is None:
        raise InvalidInput("a part of the transformation job does not exist any more")
    return source, rules, format


class _Writer:
    """Makes records of what a source gives, and writes them in batches.

    Args:
        transform: Where to, and how much at once.
        claim: The job, as it was claimed.
        run: What the records are written for.
        rules: The mapping.
        target: The target format.
    """

    def __init__(self, transform: Transform, claim: Job, run: TransformRun, rules: Rules, target: Target) -> None:
        self._queue = transform.queue
        self._version = transform.parts.version
        self._limits = transform.limits
        self._claim = claim
        self._run = run
        self._rules = rules
        self._target = target
        self.counts = Counts()
        """What was written so far."""
        self._kept = 0
        """Rejected records that are kept."""
        self._begin()

    def add(self, item: Record | Bad) -> None:
        """Takes what a source has given; writes a batch if it is time. Raises `LeaseLost`, `CancelRequested`, `StorageError`."""
        self._read += 1
        if isinstance(item, Bad):
            self._reject(item.text, [f"it cannot be read, at position {item.position:,} (from 0): {item.reason}"])
        else:
            try:
                converted = self._target.convert(self._rules.apply(item))
                value = check_json(converted, "the record")
                key = self._target.key(converted)
            except RecordRejected as error:
                self._reject(item, error.reasons)
            except InvalidInput as error:
                self._reject(item, [str(error)])
            else:
                self._records.append((None if key is None else _digest(self._run.transform_job_id, key), value))
                self._weight += _weight(value)
        full = len(self._records) >= self._limits.batch or self._weight >= HEAVY
        if full or len(self._rejected) >= self._limits.batch or time.monotonic() >= self._due:
            self._write()

    def end(self, validators: Validators, *, unchanged: bool) -> None:
        """Writes what is left, and seals the run; `unchanged`: nothing was read, since the source has not changed."""
        told: Json = None
        if unchanged or validators != Validators():
            told = {**asdict(validators), "version": self._version, "unchanged": unchanged}
        self._write(told, seal=True)

    def _begin(self) -> None:
        self._records: list[tuple[str | None, Json]] = []
        self._rejected: list[tuple[Json, Json]] = []
        self._read = self._refused = self._weight = 0
        self._due = time.monotonic() + EVERY

    def _write(self, validators: Json = None, *, seal: bool = False) -> None:
        batch = Batch(self._records, self._rejected, self._read, self._refused, seal, validators)
        self.counts = self._queue.run(
            lambda unit: transforms.write(unit, self._claim, self._run.id, self.counts, batch)
        )
        self._begin()

    def _reject(self, source: object, reasons: Any) -> None:
        self._refused += 1
        if self._kept >= self._limits.rejected:
            return
        self._kept += 1
        kept = [clean_text(str(reason), _REASON) for reason in list(reasons)[:_REASON]]
        self._rejected.append((_shortened(source, self._limits.rejected_characters), kept))


def _shortened(source: object, most: int) -> Json:
    """A record as it is kept; of a larger one, the beginning of its JSON text."""
    if not isinstance(source, str):
        try:
            return check_json(source, "a record", maximum=most)
        except InvalidInput:
            source = json.dumps(source, ensure_ascii=False, default=str)
    return clean_text(source[:most], most)


def _digest(job_id: int, key: str) -> str:
    """A key as it is kept and looked for, among those of all jobs: 128 bits, of which two are never alike by chance."""
    return hashlib.blake2b(f"{job_id}:{key}".encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _weight(value: Json) -> int:
    """About how many characters a value has."""
    if type(value) is str:
        return len(value)
    if type(value) is not dict and type(value) is not list:
        return 8
    weight = 0
    for each in value.values() if type(value) is dict else value:
        kind = type(each)
        # most are texts: a call for each of 20 took 6 us
        weight += len(each) if kind is str else _weight(each) if kind is dict or kind is list else 8
    return weight
