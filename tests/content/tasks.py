"""Content tasks to be run by hand, in memory, with the fakes."""

from __future__ import annotations

import json
from types import SimpleNamespace

from gnj import GNJ
from gnj.content import handlers as content_handlers
from gnj.content.handlers import process_entries
from gnj.content.task import handled
from gnj.queue.model_content import ContentType, TaskType
from gnj.testing import drain
from gnj.worker import Handlers
from tests.content.fakes import FakeFiles, FakeStore

BY = {"id": "u1", "name": "Ann", "email": None}
ENTRIES = TaskType.PROCESS_ENTRIES.job_type
CALM = SimpleNamespace(cancel_requested=False, lease_lost=False)
"""The context of a worker that wants nothing."""


class Killed(BaseException):
    """What ends a try as a kill of its worker does: nothing of gnj's catches it."""


def application(database="memory://", **settings):
    """A `GNJ` without a worker, with the fakes unless other ones are given."""
    settings = {"content": FakeStore(), "files": FakeFiles(), "content_workers": 0, **settings}
    return GNJ(database, **settings)


def make(jobs, type=ContentType.IMPORT_ENTRIES, *, tenant="acme", key=None, params=None, name="A job"):
    """A content job."""
    return jobs.queue.create_content_job(tenant, name=name, type=type, params=params or {}, by=BY, file_key=key)


def an_import(jobs, data, *, tenant="acme", key="uploads/1/entries.json"):
    """An import of this file, which is there: bytes, a text, or what becomes JSON."""
    text = data if isinstance(data, (bytes, str)) else json.dumps(data)
    jobs.content.files.put(tenant, key, text if isinstance(text, bytes) else text.encode())
    return make(jobs, key=key, tenant=tenant)


def work(jobs, types=(ENTRIES,)):
    """Works the tasks of these types in the calling thread; as each try left them."""
    handlers = Handlers()
    content_handlers.register(handlers, jobs.content)
    return drain(SimpleNamespace(queue=jobs.queue, handlers=handlers), types=types)


def claim(jobs):
    """The task that is next."""
    found = jobs.queue.acquire([ENTRIES])
    assert found is not None
    return found


def again(jobs, job):
    """The task, claimed anew after its worker was killed."""
    jobs.queue.give_back([job])
    return claim(jobs)


def run(jobs, job, ctx=CALM, *, work=process_entries, **options):
    """Has `work` do a task that was claimed; what its handler gives or raises."""
    return handled(jobs.content, work, **options)(job, ctx)


def now(jobs, row):
    """The content job as it is."""
    return jobs.queue.content_job(row.tenant, row.id)


def log(jobs, row, task=None):
    """The log of a content job, or of one of its tasks, the oldest line first: (level, message)."""
    lines, _ = jobs.queue.content_logs(row.tenant, row.id, offset=0, limit=10_000, job_id=task)
    return [(line.level, line.message) for line in reversed(lines)]


def entry(id, site="s1", model="article", **parts):
    """An entry, as it is in a file."""
    system = {"siteId": site, "modelId": model, **parts.pop("system", {})}
    return {"id": id, "system": system, **parts}


def stored(jobs, tenant="acme", environment=None):
    """What readers see: entries by their ids."""
    from gnj.content.filters import EVERYTHING

    store = jobs.content.store
    found = store.environment(tenant, environment)
    page = store.entries(tenant, found.id, EVERYTHING, offset=0, limit=1_000_000)
    return {each.id: each for each in page.items}
