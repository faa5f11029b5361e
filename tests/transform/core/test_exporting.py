"""Exports: pages of what was current when they began, and cells that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnj.queue.errors import NotFound
from gnj.queue.values import dump_json
from gnj.transform import exporting
from gnj.transform.exporting import Reader, of_job, of_run
from tests.transform.core.conftest import PLAIN, World, item

FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def lines(export: exporting.Export) -> list[Any]:
    return [json.loads(line) for line in b"".join(export.pieces("jsonl")).splitlines()]


def ids(export: exporting.Export) -> list[Any]:
    return [record["id"] for page in export.pages() for record in page]


def table(export: exporting.Export) -> list[list[str]]:
    return list(csv.reader(io.StringIO(b"".join(export.pieces("csv")).decode(), newline="")))


def test_a_job_and_its_runs(world: World, on_every_storage, monkeypatch):
    monkeypatch.setattr(exporting, "FEWEST", 2)
    job = world.save([item(n) for n in range(1, 8)])
    assert (lines(of_job(world.queue, world.tenant, job.id)), table(of_job(world.queue, world.tenant, job.id))) == (
        [],
        [["id", "name"]],
    )
    (first,) = world.runs(job)
    assert ids(of_run(world.queue, world.tenant, first.id)) == []  # it has not ended
    world.work()
    second = world.again(job, [item(8), item(3, "new"), item(None)])
    export = of_job(world.queue, world.tenant, job.id)
    assert lines(export) == [{"id": n, "name": "x"} for n in (1, 2, 4, 5, 6, 7, 8)] + [{"id": 3, "name": "new"}]
    assert list(lines(export)[0]) == ["id", "name"]
    assert table(export)[:2] == [["id", "name"], ["1", "x"]]
    assert ids(of_run(world.queue, world.tenant, first.id)) == [1, 2, 3, 4, 5, 6, 7]
    assert ids(of_run(world.queue, world.tenant, second.id)) == [8, 3]
    for tenant, job_id, run_id in (("other", job.id, first.id), (world.tenant, job.id + 1, second.id + 1)):
        with pytest.raises(NotFound, match="the job does not exist"):
            of_job(world.queue, tenant, job_id)
        with pytest.raises(NotFound, match="the run does not exist"):
            of_run(world.queue, tenant, run_id)


def test_fields_keep_their_order(world: World, everywhere):
    """Which JSON of PostgreSQL does not."""
    names = ["zz", "b", "aaa", "a"]
    job = world.save([item(1)], {name: {"type": "string"} for name in names})
    world.work()
    export = of_job(world.queue, world.tenant, job.id)
    assert table(export)[0] == names
    assert list(lines(export)[0]) == names
    assert world.jobs.save_format(world.tenant, None, {name: {} for name in names}).fields == names


def test_what_is_published_meanwhile_is_not_seen(world: World, everywhere, monkeypatch):
    monkeypatch.setattr(exporting, "FEWEST", 2)
    job = world.save([item(n) for n in range(6)])
    world.work()
    pages = of_job(world.queue, world.tenant, job.id).pages()
    seen = list(next(pages))
    world.again(job, [item(n, "new") for n in range(9)])
    seen += [record for page in pages for record in page]
    assert seen == [{"id": n, "name": "x"} for n in range(6)]


def test_it_breaks_off_where_the_job_is_deleted(world: World, monkeypatch):
    monkeypatch.setattr(exporting, "FEWEST", 2)
    job = world.save([item(n) for n in range(6)])
    world.work()
    pages = of_job(world.queue, world.tenant, job.id).pages()
    next(pages)
    world.jobs.delete_job(world.tenant, job.id)
    with pytest.raises(NotFound, match="the job was deleted"):
        next(pages)


def test_pages_of_large_records_are_small(world: World, monkeypatch):
    monkeypatch.setattr(exporting, "PAGE", 2_000)
    job = world.save([item(n, "x" * (1_000 if n < 40 else 1)) for n in range(200)], PLAIN)
    world.work()
    sizes = [len(page) for page in of_job(world.queue, world.tenant, job.id).pages()]
    assert sum(sizes) == 200
    assert sizes[:3] == [10, 1, 1]
    assert max(sizes[3:]) > 10


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=5) | st.builds(str.__add__, st.sampled_from(FORMULAS), st.text(max_size=3))
JSON = st.recursive(
    VALUES | TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2)
)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=4) | TEXTS, min_size=1, max_size=4, unique=True), st.data())
def test_cells_can_be_told_and_are_no_formulas(fields, data):
    records = data.draw(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(fields, JSON)), max_size=4))
    whole = b"".join(exporting._csv(fields, iter([records[:1], records[1:]])))
    head, *rows = csv.reader(io.StringIO(whole.decode(), newline=""))
    assert [cell.removeprefix("'") for cell in head] == [name.removeprefix("'") for name in fields]
    for record, row in zip(records, [row or [""] for row in rows], strict=True):
        for name, cell in zip(fields, row, strict=True):
            value = record.get(name)
            if isinstance(value, str):
                assert cell == (f"'{value}" if value.startswith(FORMULAS) else value)
                assert not cell.startswith(FORMULAS)
            else:
                assert cell == ("" if value is None else dump_json(value))


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=9)), st.integers(1, 4))
def test_pieces_are_read_as_a_file_is(pieces, size):
    reader = Reader(iter(pieces))
    found = list(iter(lambda: reader.read(size), b""))
    assert b"".join(found) == b"".join(pieces)
    assert all(len(piece) <= size for piece in found)
    reader.close()
    assert reader.read(size) == b""
