"""What runs have written, as JSON Lines and CSV, in constant memory: a page at a time, each in a transaction of its own.

What is exported is fixed when it begins: the records that were current then, by the last run that was published (`gnj.queue.transforms`).
They stay as long as the run does. Where that is removed meanwhile, with the job or because there are so many newer ones, the export
breaks off.

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
from gnj.queue.model_transform import RunStatus, TransformJob, TransformRecord, TransformRun
from gnj.queue.service import Queue
from gnj.queue.storage import Rows, Select
from gnj.queue.values import Json, dump_json
from gnj.queue.where import And, Compare, Condition, equal
from gnj.transform.lists import existing_job, existing_run, field_names, ordered

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
        run_id: The last run of those whose records are exported; None: there is none.
        which: Those of them that are exported.
        fields: The fields of the target format, in its order.
    """

    queue: Queue
    job_id: int
    run_id: int | None
    which: Condition
    fields: Sequence[str]

    def pieces(self, format: str) -> Iterator[bytes]:
        """The export, in pieces; `format` is one of `FORMATS`. Raises `NotFound` once the job was deleted, or the run removed."""
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
            yield tx
            # looked up after what was read: what is there now was there, and whole, then
            removed = tx.columns(TransformJob, ["removed_at"], Select(equal(TransformJob, id=self.job_id)))
            if removed != [(None,)]:
                raise NotFound("the job was deleted")
            if self.run_id is not None and tx.get(TransformRun, self.run_id) is None:
                raise NotFound("the run was removed: there are as many newer ones as are kept")

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
        job = existing_job(tx, tenant, id)
        return Export(queue, job.id, job.published, transforms.current(job), field_names(tx, job))


def of_run(queue: Queue, tenant: str, id: int) -> Export:
    """What a run wrote: nothing, of one that did not end well. Raises `NotFound`."""
    with queue.storage.begin(write=False) as tx:
        run, job = existing_run(tx, tenant, id)
        born = run.id if run.status is RunStatus.SUCCESSFUL else 0
        which = equal(TransformRecord, transform_job_id=job.id, born=born)
        return Export(queue, job.id, run.id, which, field_names(tx, job))


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


def _lines(fields: Sequence[str], pages: Iterator[Sequence[Json]]) -> Iterator[bytes]:
    for page in pages:
        yield "".join(f"{dump_json(ordered(fields, value))}\n" for value in page).encode()


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
