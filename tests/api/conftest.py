"""One jobs API over each storage, and what looks at it from both sides."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from graphql import GraphQLSchema

from gnj.api.hooks import Principal
from gnj.api.jobs import build_schema, context
from gnj.graphql.engine import Document, Engine, Outcome
from gnj.queue.catalog import RECORDS
from gnj.queue.service import Queue
from gnj.queue.storage import Select, Storage
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage
from tests import databases


class CountedRows:
    """Passes everything on, and counts it by name."""

    def __init__(self, rows: Any, calls: Counter[str], found: Counter[type]) -> None:
        self._rows = rows
        self._calls = calls
        self._found = found

    def __getattr__(self, name: str) -> Any:
        self._calls[name] += 1
        return getattr(self._rows, name)

    def find(self, kind: type, *given: Any, **options: Any) -> Any:
        self._calls["find"] += 1
        self._found[kind] += 1
        return self._rows.find(kind, *given, **options)


class CountedStorage(Storage):
    """Another storage, every call of whose transactions is counted."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.found: Counter[type] = Counter()
        """What was looked for: some is from time to time, whatever is asked."""
        self.capabilities = inner.capabilities

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Any]:
        with self.inner.begin(write=write) as rows:
            yield CountedRows(rows, self.calls, self.found)

    def bind(self, connection: Any) -> Any:
        return self.inner.bind(connection)

    def migrate(self) -> None:
        self.inner.migrate()

    def check(self) -> None:
        self.inner.check()

    def listen(self, wake: Any, wants: str = "jobs", *, through: Any = None) -> Any:
        return self.inner.listen(wake, wants, through=through)

    def close(self) -> None:
        self.inner.close()


class Repeating(Engine):
    """Executes a document the first time as others do when it comes again, which tests seldom have it do."""

    def document(self, query: str) -> Document | Outcome:
        found = super().document(query)
        if isinstance(found, Document):
            found.executed = True
        return found


class Api:
    """The jobs API without a transport."""

    def __init__(self, storage: Storage, engine: Engine) -> None:
        self.storage = CountedStorage(storage)
        self.queue = Queue(self.storage, lease=60.0)
        self.engine = engine

    def run(self, query: str, tenant: str = "", **variables: Any) -> dict[str, Any]:
        """The response to an operation."""
        found = context(self.queue, Principal("tester", tenant))
        return self.engine.execute(query, variables, context=found).body

    def get(self, query: str, tenant: str = "", **variables: Any) -> Any:
        """The value of the only root field of an operation that must succeed."""
        body = self.run(query, tenant, **variables)
        assert "errors" not in body, body
        (value,) = body["data"].values()
        return value

    def refuse(self, query: str, tenant: str = "", **variables: Any) -> tuple[str, str]:
        """Message and code of the one error of an operation, which must have changed nothing."""
        before = self.rows()
        body = self.run(query, tenant, **variables)
        assert len(body.get("errors", ())) == 1, body
        assert not any((body.get("data") or {}).values()), body
        assert self.rows() == before
        assert self.run("{ jobCount }").keys() == {"data"}
        error = body["errors"][0]
        return error["message"], error["extensions"]["code"]

    def rows(self) -> dict[str, list[Any]]:
        """Everything that is stored."""
        return {name: self.storage.inner.find(kind, Select(deleted=True)) for name, kind in RECORDS.items()}

    def create(self, type: str = "mail", tenant: str = "", **fields: Any) -> Any:
        """A job, made over the API."""
        text = "mutation($job: jobInput!) { jobCreate(job: $job) { id status attempt batchId pipelineId } }"
        return self.get(text, tenant, job={"type": type, **fields})

    def claim(self, type: str = "mail", tenant: str = "") -> Any:
        """A job, acquired over the API."""
        text = "mutation($types: [String!]!) { acquireJob(typeList: $types) { id attempt status } }"
        return self.get(text, tenant, types=[type])

    def update(self, **fields: Any) -> Any:
        """A job, changed over the API."""
        text = "mutation($job: jobInput!) { jobUpdate(job: $job) { id status attempt output failures } }"
        return self.get(text, job=fields)

    def counted(self, query: str, **variables: Any) -> tuple[Any, Counter[str]]:
        """What `get` gives, and the calls that reached the storage for it."""
        self.storage.calls.clear()
        value = self.get(query, **variables)
        return value, Counter(self.storage.calls)


@pytest.fixture(scope="session")
def schema() -> GraphQLSchema:
    return build_schema()


@pytest.fixture(scope="session")
def engine(schema: GraphQLSchema) -> Engine:
    return Repeating(schema)


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Storage, Callable[[], None]]]:
    """A SQLite storage, and what empties it. One for all tests: to make and migrate another takes 0.1 s."""
    directory = tmp_path_factory.mktemp("api")
    storage = SqlStorage(databases.sqlite_database(directory))
    storage.migrate()
    used = sqlite3.connect(directory / "gnj.sqlite")
    empty = sqlite3.connect(":memory:")
    used.backup(empty)
    yield storage, lambda: empty.backup(used)
    storage.close()
    used.close()
    empty.close()


@pytest.fixture(
    params=[
        pytest.param("memory", marks=pytest.mark.backend("memory")),
        pytest.param("sqlite", marks=pytest.mark.backend("sqlite")),
    ]
)
def api(request: pytest.FixtureRequest, engine: Engine) -> Api:
    if request.param == "memory":
        return Api(MemoryStorage(), engine)
    storage, empty = request.getfixturevalue("sqlite")
    empty()
    return Api(storage, engine)
