"""Two that change a transformation job at once, on a database that lets them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gnj.queue import transforms
from gnj.queue.clock import NOW
from gnj.queue.errors import NotFound
from gnj.queue.model import Schedule
from gnj.queue.model_transform import TransformFormat
from gnj.transform.requests import MappingInput, SourceInput, SourceRequest
from tests.transform.core.conftest import KEYED, PLAIN, RULES, URL, World, item
from tests.waiting import until

pytestmark = [pytest.mark.parametrize("storage", ["postgresql"], indirect=True), pytest.mark.backend("postgresql")]


def meanwhile(world: World, first: Callable[[Any], object], second: Callable[[], object]) -> object:
    """Begins `second` while `first` has done its work and has not committed yet, commits, and gives what the second does."""
    with ThreadPoolExecutor(1) as pool:
        with world.queue.transaction() as (queue, _):
            queue.run(first)
            begun = pool.submit(second)
            until(lambda: _waits(world) or begun.done())
        return begun.result(timeout=30)


def _waits(world: World) -> bool:
    with world.queue.storage.engine.connect() as connection:  # type: ignore[attr-defined]
        sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return bool(connection.exec_driver_sql(sql).scalar())


@pytest.mark.parametrize("changes", [{"paused": True}, {"cron": "0 3 * * *"}, {"cron": None}])
def test_a_deleted_job_gets_no_schedule_any_more(world, changes):
    job = world.save([item(1)])
    with pytest.raises(NotFound, match="the job does not exist"):
        meanwhile(
            world,
            lambda unit: transforms.remove(unit, world.tenant, job.id),
            lambda: world.jobs.set_schedule(world.tenant, job.id, **changes),
        )
    assert world.queue.storage.find(Schedule) == []


def test_a_part_that_is_being_deleted_makes_no_job(world):
    source = world.jobs.save_source(world.tenant, SourceRequest(type="Feed", url=URL))
    rules = world.jobs.save_mapping(world.tenant, None, RULES)
    format = world.jobs.save_format(world.tenant, None, KEYED, make_default=True)
    parts = (SourceInput(id=source.id), MappingInput(id=rules.id))
    with pytest.raises(NotFound, match="at the same moment"):
        meanwhile(
            world,
            lambda unit: (
                unit.tx.get(TransformFormat, format.id, lock=True)
                and unit.tx.edit(TransformFormat, [format.id], {"is_default": False, "deleted_at": NOW})
            ),
            lambda: world.jobs.save_job(world.tenant, *parts),
        )
    assert world.jobs.jobs(world.tenant) == []


def test_of_two_that_are_made_the_default_at_once_one_is(world):
    for _ in range(3):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: world.jobs.save_format(world.tenant, None, PLAIN, make_default=True), range(4)))
        assert sum(each.is_default for each in world.jobs.formats(world.tenant)) == 1
