"""How much a tenant may keep, in rows and in bytes, is held exactly; what is deleted is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gnj.queue.catalog import RECORDS
from gnj.queue.errors import InvalidInput
from gnj.queue.model_transform import TransformFormat, TransformJob, TransformMapping, TransformSource
from gnj.queue.storage import Select, Storage
from gnj.testing import FakeClock
from gnj.testing.contracts.support import together
from gnj.transform import keeping
from gnj.transform.errors import BadFormat, BadMapping, BadSource
from gnj.transform.keeping import size_of
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest
from tests.transform.core.conftest import KEYED, RULES, URL, World, item

PARTS = (TransformSource, TransformMapping, TransformFormat)
SOURCE = SourceRequest(type="Feed", url=URL)


def rules(text: str) -> list[Any]:
    return [{"sourceField": text, "targetField": "id"}]


def kept(storage: Storage, tenant: str) -> int:
    return sum(size for kind in PARTS for (size,) in storage.columns(kind, ["size"], tenant=tenant))


def saved_with(world: World, *, mapping: Any = RULES, request: SourceRequest = SOURCE) -> TransformJob:
    world.parts.feeds[URL] = [item(1)]
    parts = SourceInput(request=request), MappingInput(data=mapping), FormatInput(data=KEYED)
    return world.jobs.save_job(world.tenant, *parts)


@contextmanager
def refused(world: World, error: type[Exception], message: str) -> Iterator[None]:
    """What is inside raises that, and no more, and changes nothing."""
    storage = world.queue.storage
    before = [storage.find(kind, Select(deleted=True)) for kind in RECORDS.values()]
    with pytest.raises(error, match=message) as caught:
        yield
    assert type(caught.value) is error
    assert [storage.find(kind, Select(deleted=True)) for kind in RECORDS.values()] == before


@pytest.mark.parametrize(
    "values, size",
    [
        ({}, 0),
        ({"name": None, "is_default": True, "number": 3}, 0),
        ({"name": "ß"}, 2),
        ({"name": "m", "mapping": [{"a": "ß"}]}, 1 + len('[{"a":"ß"}]') + 1),
        ({"definition": {}, "fields": []}, 4),
    ],
)
def test_bytes(values, size):
    assert size_of(values) == size


def test_a_part_is_stored_with_its_size(world: World, on_every_storage):
    text = SourceRequest(type="Feed", url=URL, name="ß", headers=["A: b"], body="{}", credentials={"K": "v"})
    given = len("ß".encode()) + len("Feed") + len(URL) + len('["A: b"]') + len("{}") + len("sealed 1")
    assert world.jobs.save_source(world.tenant, text).size == given
    mapping = world.jobs.save_mapping(world.tenant, "m", rules("ß"))
    assert mapping.size == len(b"m") + len('[{"sourceField":"ß","targetField":"id"}]'.encode())
    format = world.jobs.save_format(world.tenant, None, {"a": {}}, make_default=True)
    assert format.size == len('{"a":{}}["a"]')
    assert kept(world.queue.storage, world.tenant) == given + mapping.size + format.size


def test_a_part_that_is_too_large_is_refused(world: World, monkeypatch):
    monkeypatch.setattr(keeping, "PART", 300)
    body = SourceRequest(type="Feed", url=URL, body="x" * 300)
    large: dict[str, Any] = {f"f{number}": {} for number in range(40)}
    refusals: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (BadSource, "the source must", lambda: world.jobs.save_source(world.tenant, body)),
        (BadMapping, "the mapping must", lambda: world.jobs.save_mapping(world.tenant, "m", rules("x" * 300))),
        (BadFormat, "the target format must", lambda: world.jobs.save_format(world.tenant, "f", large)),
        (BadSource, "the source must", lambda: saved_with(world, request=body)),
        (BadMapping, "the mapping must", lambda: saved_with(world, mapping=rules("x" * 300))),
    ]
    for error, message, command in refusals:
        with refused(world, error, f"{message} have at most 300 bytes with all that belongs to it, not [0-9]{{3}}"):
            command()
    world.jobs.save_mapping(world.tenant, None, rules("x" * (300 - size_of({"mapping": rules("")}))))


def test_all_parts_of_a_tenant_have_so_many_bytes_and_no_more(storage: Storage, clock: FakeClock, on_every_storage):
    world = World(storage, clock, bytes=1_000)
    first = world.jobs.save_source(world.tenant, SourceRequest(type="Feed", url=URL, body="x" * 500))
    world.jobs.save_format(world.tenant, None, KEYED)
    left = 1_000 - kept(storage, world.tenant)
    full = rules("x" * (left - size_of({"mapping": rules("")})))
    more = f"may have 1,000 bytes together, and have {1_000 - left}: a mapping of {left + 1} is too much"
    with refused(world, InvalidInput, more):
        world.jobs.save_mapping(world.tenant, "m", full)
    mapping = world.jobs.save_mapping(world.tenant, None, full)
    assert kept(storage, world.tenant) == 1_000
    with refused(world, InvalidInput, "have 1,000: a source of"):
        world.jobs.save_source(world.tenant, SOURCE)
    with refused(world, InvalidInput, "have 1,000: a source of"):
        saved_with(world)
    world.jobs.save_mapping("other", None, full)
    assert world.jobs.delete_mapping(world.tenant, mapping.id)
    assert world.jobs.delete_source(world.tenant, first.id)
    assert saved_with(world).id
    assert world.jobs.apply_mapping(world.tenant, SourceInput(data=[item(1)]), MappingInput(data=full)), (
        "nothing is kept"
    )


def test_a_job_whose_last_part_is_too_much_leaves_none_behind(storage: Storage, clock: FakeClock, everywhere):
    world = World(storage, clock, bytes=size_of({"type": "Feed", "url": URL}) + size_of({"mapping": RULES}))
    with refused(world, InvalidInput, "a target format of"):
        saved_with(world)


def test_of_many_that_are_saved_at_once_as_many_are_kept_as_may_be(
    storage: Storage, clock: FakeClock, on_every_storage
):
    size = size_of({"mapping": RULES})
    world = World(storage, clock, bytes=3 * size + size // 2)

    def save(_: int) -> str:
        try:
            world.jobs.save_mapping(world.tenant, None, RULES)
        except InvalidInput as error:
            return str(error)
        return "saved"

    outcomes = together(8, save)
    assert outcomes.count("saved") == len(world.jobs.mappings(world.tenant)) == 3
    assert len([each for each in outcomes if "is too much" in each]) == 5


def test_of_many_jobs_that_are_saved_at_once_as_many_are_kept_as_may_be(
    storage: Storage, clock: FakeClock, on_every_storage
):
    world = World(storage, clock, jobs=3)
    job = saved_with(world)
    parts: Any = SourceInput(id=job.source_id), MappingInput(id=job.mapping_id), FormatInput(id=job.format_id)

    def save(_: int) -> str:
        try:
            world.jobs.save_job(world.tenant, *parts)
        except InvalidInput as error:
            return str(error)
        return "saved"

    outcomes = together(6, save)
    assert outcomes.count("saved") == 2
    assert len([each for each in outcomes if "there are 3 jobs already" in each]) == 4
    assert len(world.jobs.jobs(world.tenant)) == 3


def test_what_is_deleted_is_gone_for_good(world: World, on_every_storage):
    source = world.jobs.save_source(world.tenant, SOURCE)
    mapping = world.jobs.save_mapping(world.tenant, None, RULES)
    format = world.jobs.save_format(world.tenant, None, KEYED, make_default=True)
    for command, id in (
        (world.jobs.delete_source, source.id),
        (world.jobs.delete_mapping, mapping.id),
        (world.jobs.delete_format, format.id),
    ):
        assert (command("other", id), command(world.tenant, id), command(world.tenant, id)) == (False, True, False)
    assert [world.queue.storage.find(kind, Select(deleted=True)) for kind in PARTS] == [[], [], []]
    assert world.jobs.save_mapping(world.tenant, None, RULES).id > mapping.id


def test_lists_are_without_what_is_large_and_loaders_have_it(world: World, on_every_storage):
    request = SourceRequest(type="Feed", url=URL, headers=["A: b"], body="{}")
    source = world.jobs.save_source(world.tenant, request)
    mapping = world.jobs.save_mapping(world.tenant, "m", RULES)
    format = world.jobs.save_format(world.tenant, "f", KEYED)
    jobs, tenant = world.jobs, world.tenant
    lists: list[tuple[Any, Any, Any, Any, Any]] = [
        (source, jobs.sources, jobs.sources_of, jobs.requests_of, (["A: b"], "{}")),
        (mapping, jobs.mappings, jobs.mappings_of, jobs.rules_of, RULES),
        (format, jobs.formats, jobs.formats_of, jobs.definitions_of, KEYED),
    ]
    for row, listed, listed_of, whole_of, whole in lists:
        (view,) = listed(tenant)
        assert all(getattr(view, name) == getattr(row, name) for name in type(view).__slots__)
        assert not {"headers", "body", "mapping", "definition"} & set(type(view).__slots__)
        assert listed_of(tenant, [row.id, 99]) == {row.id: view}
        assert whole_of(tenant, [row.id, 99]) == {row.id: whole}
        assert (listed("other"), listed_of(tenant, []), whole_of(tenant, [])) == ([], {}, {})
        assert listed_of("other", [row.id]) == whole_of("other", [row.id]) == {}
