"""What runs have written, as JSON Lines and CSV, in constant memory: a page at a time, each in a transaction of its own.

What is exported is fixed when it begins: the records that were current then, by the last run that was published (`gnj.queue.transforms`).
They stay while it lasts, as long as the retention of what later runs put in their place; where the job is deleted meanwhile, the
export breaks off.

Cells of CSV that a spreadsheet would take for a formula begin with an apostrophe (OWASP, "CSV Injection"); numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from gnj.queue import transforms
from gnj.queue.errors import NotFound
from gnj.queue.model import attributes
from gnj.queue.model_transform import RunStatus, TransformFormat, TransformJob, TransformRecord, TransformRun
from gnj.queue.service import Queue
from gnj.queue.storage import Rows, Select
from gnj.queue.values import Json, check_int, dump_json
from gnj.queue.where import And, Compare, Condition, equal

FORMATS: Final[Mapping[str, str]] = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8; header=present"}
"""What records are exported as, and its media type."""
FEWEST: Final = 10
"""Records of the first page: one may have 4 MiB."""
MOST: Final = 500
"""Records of a page."""
PAGE: Final = 1024 * 1024
"""Characters of JSON that a page is to have, more or less: the next one has as many records as would have had those."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that is taken for a formula; the last four are the wide forms of the first."""


@dataclass(frozen=True, slots=True)
class Export:
    """The records of one job, to be read once.

    Args:
        queue: Where they are.
        job_id: The job.
        which: Those of them that are exported.
        fields: The fields of the target format, in its order.
    """

    queue: Queue
    job_id: int
    which: Condition
    fields: Sequence[str]

    def pieces(self, format: str) -> Iterator[bytes]:
        """The export, in pieces; `format` is one of `FORMATS`. Raises `NotFound` once the job was deleted."""
        return _csv(self.fields, self.pages()) if format == "csv" else _lines(self.fields, self.pages())

    def pages(self) -> Iterator[Sequence[Json]]:
        """The records, in the order in which they were written. By runs, and by ids within each: an index has them so."""
        born, limit = 0, FEWEST
        while (found := self._run_after(born)) is not None:
            born, after = found, 0
            while rows := self._page(born, after, limit):
                after = rows[-1][0]
                values = [value for _, value in rows]
                yield values
                if len(rows) < limit:
                    break
                weight = sum(len(dump_json(value)) for value in values)
                limit = max(1, min(MOST, limit * 2, limit * PAGE // max(1, weight)))

    @contextmanager
    def _reading(self) -> Iterator[Rows]:
        with self.queue.storage.begin(write=False) as tx:
            removed = tx.columns(TransformJob, ["removed_at"], Select(equal(TransformJob, id=self.job_id)))
            if removed != [(None,)]:
                raise NotFound("the job was deleted")
            yield tx

    def _run_after(self, born: int) -> int | None:
        """The next run of which there are records."""
        later = Compare(_OF_RECORDS["born"], (), "gt", born)
        first = Select(And((self.which, later)), order=(("born", False),), limit=1)
        with self._reading() as tx:
            found = tx.columns(TransformRecord, ["born"], first)
        return found[0][0] if found else None

    def _page(self, born: int, after: int, limit: int) -> list[tuple[Any, ...]]:
        own = equal(TransformRecord, transform_job_id=self.job_id, born=born)
        later = Compare(_OF_RECORDS["id"], (), "gt", after)
        select = Select(And((own, self.which, later)), order=(("born", False), ("id", False)), limit=limit)
        with self._reading() as tx:
            return tx.columns(TransformRecord, ["id", "value"], select)


def of_job(queue: Queue, tenant: str, id: int) -> Export:
    """The current records of a job. Raises `NotFound`."""
    with queue.storage.begin(write=False) as tx:
        job = _job(tx, tenant, check_int(id, "jobId"))
        if job is None:
            raise NotFound("the job does not exist")
        return Export(queue, job.id, transforms.current(job), _fields(tx, job))


def of_run(queue: Queue, tenant: str, id: int) -> Export:
    """What a run wrote: nothing, of one that did not end well. Raises `NotFound`."""
    with queue.storage.begin(write=False) as tx:
        run = tx.get(TransformRun, check_int(id, "runId"), tenant=tenant)
        job = None if run is None else _job(tx, tenant, run.transform_job_id)
        if run is None or job is None:
            raise NotFound("the run does not exist")
        born = run.id if run.status is RunStatus.SUCCESSFUL else 0
        return Export(queue, job.id, equal(TransformRecord, transform_job_id=job.id, born=born), _fields(tx, job))


class Reader:
    """Pieces as a file that is read: a `gnj.api.file_stream.Source`.

    Args:
        pieces: Of any size.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; b"" only at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        found, self._rest = self._rest[:size], self._rest[size:]
        return bytes(found)

    def close(self) -> None:
        """Nothing more is read."""
        self._pieces, self._rest = iter(()), memoryview(b"")


_OF_RECORDS: Final = attributes(TransformRecord)


def _job(tx: Rows, tenant: str, id: int) -> TransformJob | None:
    job = tx.get(TransformJob, id, tenant=tenant)
    return None if job is None or job.removed_at is not None else job


def _fields(tx: Rows, job: TransformJob) -> Sequence[str]:
    format = tx.get(TransformFormat, job.format_id)
    return [] if format is None else format.fields


def _lines(fields: Sequence[str], pages: Iterator[Sequence[Json]]) -> Iterator[bytes]:
    for page in pages:
        yield "".join(f"{dump_json(_ordered(fields, value))}\n" for value in page).encode()


def _ordered(fields: Sequence[str], value: Any) -> dict[str, Json]:
    """A record with its fields in the order of the format: PostgreSQL keeps none."""
    return {name: value[name] for name in fields if name in value}


def _csv(fields: Sequence[str], pages: Iterator[Sequence[Json]]) -> Iterator[bytes]:
    yield _rows([[_safe(name) for name in fields]])
    for page in pages:
        records: Any = page
        yield _rows([[_cell(record.get(name)) for name in fields] for record in records])


def _rows(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: Json) -> str:
    """A value as a cell: nothing for null, texts as they are, else its JSON."""
    if value is None:
        return ""
    return _safe(value) if isinstance(value, str) else dump_json(value)


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
