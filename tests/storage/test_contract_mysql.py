"""The storage contract, kept by `SqlStorage` on MySQL or MariaDB; and what these do in ways of their own."""

import threading
from contextlib import contextmanager
from functools import partial

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from gnj.queue.errors import Conflict, GnjError, StorageError, StorageUnavailable
from gnj.queue.model import Hold, Job, Pipeline, attributes
from gnj.queue.states import JOB_CLAIMED
from gnj.queue.storage import Settlement
from gnj.queue.where import Compare
from gnj.storage.sql import SqlStorage
from gnj.testing import FakeClock, StorageContract
from gnj.testing.contracts.support import claim, put, put_many, started
from tests import databases

pytestmark = pytest.mark.backend("mysql")


@pytest.fixture(scope="module")
def migrated(mysql_server):
    with mysql_server.database(migrated=True) as url:
        storage = SqlStorage(url)
        storage.migrate()
        yield url, storage
        storage.close()


@pytest.fixture
def url(storage, migrated):
    return migrated[0]


@pytest.fixture
def storage(migrated):
    """The module's database, emptied; its numbers go on."""
    with migrated[1].engine.begin() as connection:
        for table in migrated[1].tables.metadata.sorted_tables:
            connection.execute(table.delete())
    return migrated[1]


class TestMysqlContract(StorageContract):
    @pytest.fixture
    def storage(self, storage):
        return storage

    @pytest.fixture
    def clocked(self, storage):
        clock = FakeClock()
        return SqlStorage(storage.engine, clock=clock), clock

    @pytest.fixture(params=["connection", "session"])
    def connect(self, request, storage):
        engine = create_engine(storage.engine.url)
        yield engine.connect if request.param == "connection" else partial(Session, engine)
        engine.dispose()


@contextmanager
def host(url, *settings, **options):
    """An engine of a host's, whose sessions have settings of their own."""
    engine = create_engine(make_url(url).set(drivername="mysql+pymysql"), **options)

    @event.listens_for(engine, "connect")
    def set_up(connection, _):
        with connection.cursor() as cursor:
            for setting in settings:
                cursor.execute(f"SET SESSION {setting}")

    yield engine
    engine.dispose()


def hang_up(url):
    with host(url) as engine, engine.connect() as connection:
        databases.hang_up(connection, str(make_url(url).database))


def test_connections_that_died_are_made_again(storage, url):
    """Also for those who only read."""
    put(storage)
    for look in (lambda: put(storage), lambda: storage.count(Job), storage.migrate, storage.check):
        hang_up(url)
        look()
    assert storage.count(Job) == 2


def test_a_connection_that_dies_in_a_transaction(storage, url):
    with pytest.raises(StorageUnavailable), storage.begin() as tx:  # noqa: PT012
        put(tx)
        hang_up(url)
        put(tx)
    assert storage.count(Job) == 0


def test_what_is_wrong_with_a_server_is_said(mysql_server):
    server = make_url(mysql_server.url)
    for url, told in {
        server.set(database="gnj_no_such_database"): "no such database",
        server.set(username="gnj_nobody", password="x"): "refused the user or the password",
        server.set(host="127.0.0.1", port=1): "nothing answers",
        server.set(host="no-such-host.invalid"): "no host of that name",
    }.items():
        storage = SqlStorage(url)
        for call in (storage.check, storage.migrate, storage.now):
            with pytest.raises(StorageUnavailable, match=told):
                call()
        storage.close()


def test_there_are_no_schemas(url):
    with pytest.raises(GnjError, match="MySQL has no schemas"):
        SqlStorage(url, schema="x")


def test_a_lock_that_is_waited_for_too_long_is_told(storage, url):
    """The server takes back the statement only; the transaction leaves nothing all the same."""
    job = put(storage)
    with host(url, "innodb_lock_wait_timeout = 1") as engine, storage.begin() as tx:
        tx.get(Job, job.id, lock=True)
        impatient = SqlStorage(engine)
        with pytest.raises(StorageUnavailable), impatient.begin() as other:  # noqa: PT012
            other.insert(Pipeline, [{}])
            other.edit(Job, [job.id], {"name": "x"})
    assert storage.count(Pipeline) == 0


def test_a_deadlock_inside_of_a_savepoint_is_a_conflict(storage):
    """It takes the savepoint with it; an edit that may meet a duplicate has one."""
    first, second = put_many(storage, [{}, {}])
    both = threading.Barrier(2)

    def lock(one, other):
        try:
            with storage.begin() as tx:
                tx.insert(Pipeline, [{}])
                tx.get(Job, one.id, lock=True)
                both.wait(20)
                tx.edit(Job, [other.id], {"unique_id": str(one.id)})
        except GnjError as error:
            return type(error)

    ends = [started(partial(lock, *pair)) for pair in ((first, second), (second, first))]
    assert sorted(map(str, (end.result(30) for end in ends))) == sorted(map(str, (None, Conflict)))
    assert storage.count(Pipeline) == 1


@pytest.mark.parametrize(
    "settings",
    [
        ("time_zone = '+05:45'",),
        ("time_zone = '-11:00'", "sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'"),
        ("sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'",),
        ("sql_mode = ''", "TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        ("auto_increment_increment = 3", "auto_increment_offset = 2"),
    ],
)
def test_whatever_the_sessions_of_the_host_have(storage, url, settings):
    with host(url, *settings) as engine:
        theirs = SqlStorage(engine)
        jobs = put_many(theirs, [{"name": "a\\b'\"%", "input": {"a": ["\\", n]}} for n in range(5)])
        assert storage.find(Job) == theirs.find(Job) == jobs
        put(storage, name="after")
        before = storage.now()
        assert before <= theirs.now() <= storage.now()
        assert (before - jobs[0].created_at).total_seconds() < 60
        assert [job.id for job in claim(theirs, limit=3)] == [job.id for job in jobs[:3]]
        for pattern, found in (("a\\\\b%", 5), ("A\\\\B%", 0), ("after", 1)):
            condition = Compare(attributes(Job)["name"], (), "like", pattern)
            assert theirs.count(Job, condition) == found


def test_claims_see_a_hold_that_came_after_the_hosts_snapshot(storage, url):
    with host(url, "TRANSACTION ISOLATION LEVEL REPEATABLE READ") as engine:
        theirs = SqlStorage(engine)
        put(storage)
        with theirs.begin() as tx:
            assert tx.count(Hold) == 0
            storage.insert(Hold, [{"type": "mail"}])
            assert tx.claim(["mail"], 1, lease=1, changes={"status": "processing"}) == []


def test_what_came_after_the_hosts_snapshot_is_no_endless_search(storage, url):
    """A unique id and a hold that others stored since a transaction of the host's began to read."""
    with host(url) as engine, Session(engine) as session, storage.bind(session) as tx:
        assert tx.count(Job) == 0
        other = put(storage, unique_id="u")
        (hold,) = storage.insert(Hold, [{"type": "mail"}])
        assert tx.insert_jobs([{"type": "mail", "unique_id": "u"}, {"type": "mail", "unique_id": "v"}])[0] == (
            other,
            False,
        )
        assert tx.insert(Hold, [{"type": "mail"}]) == [hold]
        done = tx.settle([Settlement(other.id, None, {"queued"}, {"status": "successful"})])
        assert done[0] is not None
        session.commit()
    assert storage.count(Job) == 2
    assert not JOB_CLAIMED & {job.status for job in storage.find(Job)}


def test_many_large_rows_are_several_statements(storage):
    """24 MB and more, in a packet of 16."""
    large = "\\" * 1_500_000
    jobs = put_many(storage, [{"input": large}, {}, *({"input": [n, large]} for n in range(8))])
    assert [job.id for job in jobs] == list(range(jobs[0].id, jobs[0].id + 10))
    held = claim(storage)
    ends = [Settlement(job.id, 1, JOB_CLAIMED, {"status": "successful", "output": [job.id, large]}) for job in held]
    done = storage.settle(ends)
    assert [job.output[0] for job in done if job] == [job.id for job in held]


def test_a_row_too_large_for_the_server_is_said(storage):
    large = "\\" * 5_000_000
    with pytest.raises(StorageError) as caught:
        put_many(storage, [{"name": "first"}, {"input": large, "output": large}])
    assert "max_allowed_packet" in str(caught.value) or isinstance(caught.value, StorageUnavailable)
    assert storage.count(Job) == 0


class Killed(Exception):
    """A migration's process, so to speak."""


@pytest.mark.slow
def test_a_migration_killed_after_any_statement_ends_right_when_run_again(mysql_database):
    """Each run ends after the first statement that makes something which no run ended after."""
    storage, whole = SqlStorage(mysql_database()), SqlStorage(mysql_database())
    whole.migrate()
    made = []

    @event.listens_for(storage.engine, "after_cursor_execute")
    def kill(connection, cursor, statement, *_):
        if statement.lstrip().startswith(("CREATE", "ALTER", "INSERT", "UPDATE")) and statement not in made:
            made.append(statement)
            raise Killed

    for _ in range(200):
        try:
            storage.migrate()
            break
        except Killed:
            continue
    event.remove(storage.engine, "after_cursor_execute", kill)
    assert len(made) > 40
    assert shape(storage) == shape(whole)
    storage.check()
    put(storage)
    storage.close()
    whole.close()


def shape(storage):
    with storage.engine.connect() as connection:
        names = connection.exec_driver_sql("SHOW TABLES").scalars().all()
        return [
            sorted(connection.exec_driver_sql(f"SHOW CREATE TABLE `{name}`").one()[1].split("\n")) for name in names
        ]
