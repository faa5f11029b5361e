"""What can go wrong with a database, and what is said of it: our errors, plain lines, no password."""

from __future__ import annotations

import builtins
import fcntl
import socket
import sqlite3
import struct
import termios
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor as Pool
from contextlib import ExitStack

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from gnj.queue.errors import (
    Conflict,
    Duplicate,
    GnjError,
    InvalidInput,
    NotMigrated,
    StorageError,
    StorageUnavailable,
    WrongDatabase,
)
from gnj.queue.model import Batch, Job
from gnj.queue.storage import Settlement
from gnj.queue.wake import Wake
from gnj.storage import open_storage
from gnj.storage.memory import MemoryStorage
from gnj.storage.sql import SqlStorage, notify_postgresql
from gnj.storage.sql import engine as engine_module
from gnj.storage.sql.notify_postgresql import channel
from gnj.testing.contracts.support import claim

SECRET = "hunter2"


@pytest.fixture
def make():
    made = []

    def make(database, **options):
        made.append(SqlStorage(database, **options))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


@pytest.fixture
def postgresql(postgresql_database, make):
    storage = make(postgresql_database())
    storage.migrate()
    return storage


@pytest.fixture
def mysql(mysql_database, make):
    storage = make(mysql_database())
    storage.migrate()
    return storage


@pytest.fixture
def sqlite(sqlite_database, make):
    storage = make(sqlite_database())
    storage.migrate()
    return storage


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def storage(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    "url",
    [
        "oracle://scott:hunter2@db/x",
        "mssql://u:hunter2@h/d",
        "redis://h",
        "nonsense",
        "",
        "://",
        "sqlite:x:y",
        "postgresql://h:abc/x",
    ],
)
def test_an_unknown_scheme_is_refused_in_one_line_that_names_the_known_ones(url):
    with pytest.raises(InvalidInput) as caught:
        open_storage(url)
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ("sqlite://", "postgresql://", "mysql://", "memory://"))
    assert SECRET not in message


def test_the_schemes_that_work(tmp_path):
    assert isinstance(open_storage("memory://", prefix="x_"), MemoryStorage)
    servers = (
        "postgresql://u@h/d",
        "postgresql+psycopg://u@h/d",
        "mysql://u@h/d",
        "mariadb://u@h/d",
        "mysql+pymysql://u@h/d",
    )
    for url in (f"sqlite:///{tmp_path}/a.db", "sqlite://", *servers):
        storage = open_storage(url, prefix="x_", pool_size=2)
        assert isinstance(storage, SqlStorage)
        assert storage.engine.driver in ("pysqlite", "psycopg", "pymysql")
        storage.close()


@pytest.mark.parametrize(
    "scheme,driver,extra",
    [("postgresql", "psycopg", "postgresql"), ("mysql", "pymysql", "mysql"), ("mariadb", "pymysql", "mysql")],
)
def test_a_missing_driver_names_the_extra(monkeypatch, scheme, driver, extra):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name == driver:
            raise ModuleNotFoundError(f"No module named '{driver}'", name=driver)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StorageError, match=rf'^[a-z]+:// needs {driver}.*pip install "gnj\[{extra}\]"$'):
        SqlStorage(f"{scheme}://u:{SECRET}@h/d")


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_nothing_listens(scheme):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refused(f"{scheme}://u:{SECRET}@127.0.0.1:{port}/d", within=3)


@pytest.mark.slow_on("mysql")
@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_nobody_answers(scheme):
    """A server that takes the connection and says nothing: the worst of networks."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refused(f"{scheme}://u:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/d", within=6)


def refused(url, within):
    """By what goes through SQLAlchemy, and by what goes to the driver directly."""
    storage = SqlStorage(url)
    for call in (lambda: storage.get(Job, 1), lambda: claim(storage)):
        began = time.monotonic()
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert time.monotonic() - began < within
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    storage.close()


@pytest.mark.parametrize("database", ["nothing_here", "postgres"])
def test_a_database_that_is_missing_and_a_user_that_is_unknown(postgresql_url, make, database):
    url = make_url(postgresql_url).set(database=database, username="nobody_of_this_name", password=SECRET)
    with pytest.raises(StorageUnavailable) as caught:
        make(url).check()
    assert SECRET not in str(caught.value)


def test_passwords_that_the_driver_cannot_send(monkeypatch, make):
    def connect(**_):
        raise RuntimeError("'cryptography' package is required for caching_sha2_password auth methods")

    monkeypatch.setattr("pymysql.connect", connect)
    with pytest.raises(StorageUnavailable, match=r"PyMySQL\[rsa\]"):
        make(f"mysql://u:{SECRET}@h/d").check()


def test_a_directory_that_is_missing(tmp_path, make):
    with pytest.raises(StorageUnavailable):
        make(f"sqlite:///{tmp_path}/missing/x.db").count(Job)


def test_a_file_that_is_no_database(tmp_path, make):
    (tmp_path / "x.db").write_text("this is a letter to my aunt" * 100)
    with pytest.raises(StorageError):
        make(f"sqlite:///{tmp_path}/x.db").count(Job)


@pytest.mark.unmigrated
@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql"])
def test_not_migrated(request, make, backend):
    storage = make(request.getfixturevalue(f"{backend}_database")())
    calls = [
        lambda: storage.get(Job, 1),
        lambda: storage.find(Job),
        lambda: storage.insert(Batch, [{}]),
        lambda: storage.insert_jobs([{"type": "a"}]),
        lambda: storage.claim(["a"], 1, lease=1, changes={"status": "processing"}),
        lambda: storage.settle([Settlement(1, 1, ["processing"], {"status": "failed"})]),
        lambda: storage.promote(1),
        lambda: storage.lost(1),
        storage.check,
    ]
    for call in calls:
        with pytest.raises(NotMigrated):
            call()
    schema = make(storage.engine.url, schema="elsewhere") if backend == "postgresql" else None
    if schema is not None:
        with pytest.raises(NotMigrated):
            schema.count(Job)


def test_sqlite_stays_locked(sqlite, monkeypatch):
    """Another process writes and does not end; reading goes on all the while."""
    monkeypatch.setattr("gnj.storage.sql.engine.BUSY_SECONDS", 0.2)
    impatient = SqlStorage(sqlite.engine.url)
    other = sqlite3.connect(sqlite.engine.url.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        impatient.insert_jobs([{"type": "a"}])
    assert time.monotonic() - began < 2
    assert impatient.count(Job) == 0
    other.execute("ROLLBACK")
    impatient.insert_jobs([{"type": "a"}])
    impatient.close()
    other.close()


def test_a_transaction_in_memory_that_does_not_end(make, monkeypatch):
    monkeypatch.setattr("gnj.storage.sql.storage.BUSY_SECONDS", 0.1)
    storage = make("sqlite://")
    storage.migrate()
    with storage.begin(), pytest.raises(StorageUnavailable):
        storage.count(Job)
    assert storage.count(Job) == 0


@pytest.fixture(params=["postgresql", "mysql"])
def server(request):
    return request.getfixturevalue(request.param)


def test_a_deadlock_is_a_conflict(server):
    first, second = (job for job, _ in server.insert_jobs([{"type": "a"}, {"type": "a"}]))
    both = threading.Barrier(2)
    errors = []

    def lock(one, other):
        try:
            with server.begin() as tx:
                tx.get(Job, one, lock=True)
                both.wait(20)
                tx.get(Job, other, lock=True)
        except GnjError as error:
            errors.append(error)

    threads = [threading.Thread(target=lock, args=ids) for ids in ((first.id, second.id), (second.id, first.id))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [type(error) for error in errors] == [Conflict]


def test_a_server_that_went_away_and_came_back(postgresql):
    """The connections the pool kept are dead: whoever writes does not notice."""
    postgresql.insert_jobs([{"type": "a"}])
    with create_engine(postgresql.engine.url).connect() as other:
        pids = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        other.execute(text(pids))
        other.commit()
        other.detach()
    postgresql.insert_jobs([{"type": "a"}])
    assert postgresql.count(Job) == 2


def test_a_connection_that_dies_in_a_transaction(server):
    def die_in_the_middle():
        with server.begin() as tx:
            tx.insert_jobs([{"type": "a"}])
            tx.connection.connection.driver_connection.close()
            tx.insert_jobs([{"type": "a"}])

    with pytest.raises(StorageUnavailable):
        die_in_the_middle()
    assert server.count(Job) == 0


def test_a_duplicate_leaves_the_transaction_usable(storage):
    """The caller's own transaction must survive what the queue refuses."""
    _, (second, _) = storage.insert_jobs([{"type": "a", "unique_id": "k"}, {"type": "a"}])
    engine = create_engine(storage.engine.url)
    with Session(engine) as session:
        with storage.bind(session) as tx, pytest.raises(Duplicate, match="jobUniqueId"):
            tx.edit(Job, [second.id], {"unique_id": "k"})
        with storage.bind(session) as tx:
            tx.edit(Job, [second.id], {"unique_id": "l"})
        session.commit()
    engine.dispose()
    changed = storage.get(Job, second.id)
    assert changed is not None
    assert changed.unique_id == "l"


def test_messages_hold_nothing_of_the_driver(storage):
    """Such as a table's name or the values of the row."""
    storage.insert_jobs([{"type": "a", "custom_id": SECRET}])
    with pytest.raises(Duplicate) as caught:
        storage.insert_jobs([{"type": "a", "custom_id": SECRET}])
    assert str(caught.value) == "another row has that key"
    with pytest.raises(StorageError) as unexpected, storage.begin() as tx:
        tx.run(text("SELECT nonsense FROM (SELECT 1) AS secret_table WHERE 'x' ="))
    assert "secret" not in str(unexpected.value)


@pytest.mark.parametrize("wrong", ["a connection", None, 3])
def test_what_is_no_connection(storage, wrong):
    with pytest.raises(InvalidInput, match="Connection or Session"):
        storage.bind(wrong)


def test_a_connection_to_another_kind_of_database(sqlite, postgresql):
    with postgresql.engine.connect() as connection, pytest.raises(WrongDatabase, match="postgresql"):
        sqlite.bind(connection)
    with pytest.raises(InvalidInput, match="SQLite has no schemas"):
        SqlStorage("sqlite://", schema="x")


LISTENERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%notify%' AND pid <> pg_backend_pid()"""
"""Ends their sessions."""


def signal(storage):
    with storage.begin() as tx:
        tx.signal()


def test_a_listener_whose_connection_dies_listens_again(postgresql, make, caplog):
    other, woken = make(postgresql.engine.url), threading.Event()
    with postgresql.listen(woken.set):
        signal(other)
        assert woken.wait(5)
        woken.clear()
        with other.begin() as tx:
            assert tx.run(text(LISTENERS)).scalars().all() == [True]
        assert woken.wait(5), "what was said meanwhile is looked for"
        woken.clear()
        signal(other)
        assert woken.wait(5)
        began = time.monotonic()
    assert time.monotonic() - began < 0.5
    assert "polling" in caplog.text
    assert SECRET not in caplog.text


@pytest.fixture
def resting(monkeypatch):
    """Set once the thread of a listener with receivers rests, which it then does for a minute."""
    monkeypatch.setattr(notify_postgresql, "EMPTIED_EVERY", 60.0)
    rests, rang = threading.Event(), notify_postgresql._Listener._rang

    def rest(listener, seconds):
        rests.set()
        return rang(listener, seconds)

    monkeypatch.setattr(notify_postgresql._Listener, "_rang", rest)
    return rests


def test_who_waits_hears_signals_without_the_listener(postgresql, make, resting):
    """Its thread would find them a second later."""
    other, wake = make(postgresql.engine.url), Wake()
    with postgresql.listen(lambda: pytest.fail("by the thread"), through=wake.through) as hears, Pool(1) as pool:
        assert resting.wait(5)
        for rings in range(1, 4):
            waiting = pool.submit(wake.wait, rings - 1, 5.0)
            signal(other)
            assert waiting.result() == rings
        assert hears()
        assert wake.wait(3, 0.05) == 3
        began = time.monotonic()
    assert time.monotonic() - began < 0.5


def test_what_comes_while_nobody_waits_does_not_pile_up(postgresql, make, monkeypatch):
    monkeypatch.setattr(notify_postgresql, "EMPTIED_EVERY", 0.01)
    other, wake, woken = make(postgresql.engine.url), Wake(), threading.Event()
    with postgresql.listen(woken.set, through=wake.through):
        signal(other)
        assert woken.wait(5)
        assert wake.rings == 0


def unread(raw):
    """The bytes that wait to be read from a connection."""
    return struct.unpack("i", fcntl.ioctl(raw.fileno(), termios.FIONREAD, b"    "))[0]


def test_much_that_comes_while_nobody_waits_is_one_signal(postgresql, make, resting):
    """All of it is taken in at once, though it is more than libpq reads at a time: nobody looks for work again and again."""
    other, wake = make(postgresql.engine.url), Wake()
    receivers: list[notify_postgresql._Receiver] = []

    def through(receiver):
        receivers.append(receiver)
        return wake.through(receiver)

    payloads = ["", *map(str, range(1_000)), "all"]  # the numbers, others of the same channel, are no signals
    name = channel(other.tables)
    with postgresql.listen(wake.set, through=through):
        assert resting.wait(5)
        with other.begin() as tx:
            for payload in payloads:
                tx.run(text(f"SELECT pg_notify('{name}', '{payload}')"))
        # type, length and process, then two strings; encrypted they are more, and the last of them may come a moment later
        least, before, end = sum(11 + len(name) + len(payload) for payload in payloads), -1, time.monotonic() + 10
        while (there := unread(receivers[0]._raw)) < least or there != before:
            assert time.monotonic() < end
            before = there
            time.sleep(0.1)
        assert wake.wait(0, 5.0) == 1
        assert wake.wait(1, 0.05) == 1


def test_checks_and_those_who_wait_share_a_connection(postgresql, make, monkeypatch, caplog):
    """A signal may come with the answer to a check."""
    monkeypatch.setattr(notify_postgresql, "CHECK_EVERY", 0.001)
    monkeypatch.setattr(notify_postgresql, "EMPTIED_EVERY", 0.001)
    other, wake = make(postgresql.engine.url), Wake()
    with postgresql.listen(wake.set, through=wake.through), Pool(1) as pool:
        for _ in range(200):
            seen = wake.rings
            waiting = pool.submit(wake.wait, seen, 5.0)
            signal(other)
            assert waiting.result() > seen
    assert caplog.text == ""


def test_a_check_that_waits_for_a_lock_keeps_nobody_waiting(postgresql, make, monkeypatch):
    monkeypatch.setattr(notify_postgresql, "CHECK_EVERY", 0.01)
    monkeypatch.setattr(notify_postgresql, "EMPTIED_EVERY", 0.01)
    other, wake = make(postgresql.engine.url), Wake()
    waits_for_a_lock = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ExitStack() as stack:
        listening = ExitStack()
        listening.enter_context(postgresql.listen(wake.set, through=wake.through))
        pool = stack.enter_context(Pool(1))
        tx = stack.enter_context(other.begin())
        tx.run(text(f"SELECT 1 FROM {other.tables.listener.name} FOR UPDATE"))
        end = time.monotonic() + 10
        while not tx.run(text(waits_for_a_lock)).scalar_one():
            assert time.monotonic() < end
        began = time.monotonic()
        assert pool.submit(wake.wait, wake.rings, 0.1).result() == wake.rings
        waiting = pool.submit(wake.wait, wake.rings, 5.0)
        wake.set()
        assert waiting.result() == wake.rings
        listening.close()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("wants", ["jobs", "changes"])
def test_a_connection_that_is_lost_is_noticed_by_who_reads(postgresql, make, monkeypatch, caplog, wants):
    """At once, not when the next check is due."""
    monkeypatch.setattr(notify_postgresql, "EMPTIED_EVERY", 60.0)
    other, wake, through = make(postgresql.engine.url), Wake(), Wake()
    lent = through.through if wants == "jobs" else None
    with postgresql.listen(wake.set, wants, through=lent), Pool(1) as pool:
        for rings in (1, 2):
            waiting = pool.submit(through.wait, through.rings, 5.0)
            with other.begin() as tx:
                tx.run(text(LISTENERS)).all()
            assert wake.wait(rings - 1, 5.0) == rings
            through.set()
            waiting.result()
    assert caplog.text.count("polling") == 2


def test_a_connection_that_ended_before_somebody_waits_is_noticed(postgresql, make):
    """The first look finds it, after which there is nothing that could end the wait."""
    lost: list[bool] = []
    receiver = notify_postgresql._Receiver({""}, "mark", lambda: lost.append(True))
    raw = postgresql.engine.raw_connection()
    receiver.attach(raw.driver_connection)
    receiver.wait(0.0)
    with make(postgresql.engine.url).begin() as tx:
        pid = raw.driver_connection.info.backend_pid
        assert tx.run(text(f"SELECT pg_terminate_backend({pid}, 5000)")).scalar_one()
    raw.driver_connection.pgconn.consume_input()  # that the server ends it; what is left is the end itself
    began = time.monotonic()
    assert not receiver.wait(5.0)
    assert lost
    assert time.monotonic() - began < 3
    assert not receiver.is_connected
    raw.invalidate()
    receiver.close()


def test_pauses_between_attempts_are_kept(postgresql, monkeypatch):
    """Whatever has the thread look up meanwhile."""
    attempts: list[float] = []
    enough = threading.Event()

    def fail(listener, raw):
        attempts.append(time.monotonic())
        listener._bell.ring()
        if len(attempts) == 3:
            enough.set()
        raise OSError

    monkeypatch.setattr(notify_postgresql._Listener, "_inserted", fail)
    with postgresql.listen(lambda: None):
        assert enough.wait(20)
    assert attempts[1] - attempts[0] >= 0.2
    assert attempts[2] - attempts[1] >= 0.4


def test_who_waits_at_a_connection_that_dies_waits_at_the_next_one(postgresql, make, caplog):
    other, wake = make(postgresql.engine.url), Wake()
    with postgresql.listen(wake.set, through=wake.through), Pool(1) as pool:
        for _ in range(2):
            seen = wake.rings
            waiting = pool.submit(wake.wait, seen, 10.0)
            with other.begin() as tx:
                assert tx.run(text(LISTENERS)).scalars().all() == [True]
            assert waiting.result() > seen, "what was said meanwhile is looked for"
            waiting = pool.submit(wake.wait, wake.rings, 5.0)
            signal(other)
            assert waiting.result() > seen + 1
    assert caplog.text.count("polling") == 2
    assert SECRET not in caplog.text


def test_a_listener_without_a_server_goes_on_trying(make, caplog):
    storage = make("postgresql://nobody@127.0.0.1:1/nothing")
    began = time.monotonic()
    with storage.listen(lambda: None):
        time.sleep(0.5)
    assert time.monotonic() - began < 3
    assert caplog.text.count("polling") >= 2


def test_nobody_is_notified_when_nobody_listens(postgresql):
    """A row of a listener that is gone counts until its lease is over, and no longer."""
    listener = postgresql.tables.listener
    statements: list[object] = []
    with postgresql.engine.connect() as connection:
        raw = connection.connection.driver_connection
        raw.add_notify_handler(statements.append)
        raw.execute(f"LISTEN {channel(postgresql.tables)}")
        signal(postgresql)
        connection.execute(
            text(
                f"INSERT INTO {listener.name} (wants, created_at, updated_at, expires_at) VALUES ('jobs', now(), now(), now())"
            )
        )
        signal(postgresql)
        raw.execute("SELECT 1")
        assert statements == []
        connection.execute(text(f"UPDATE {listener.name} SET expires_at = now() + interval '1 minute'"))
        signal(postgresql)
        raw.execute("SELECT 1")
        assert len(statements) == 1


def test_what_is_wrong_with_a_file_is_said(tmp_path, make):
    (tmp_path / "text").write_text("no database " * 200)
    for name, told in {"missing/x.db": "does its folder exist", "text": "is not a SQLite database"}.items():
        with pytest.raises(StorageUnavailable, match=told):
            make(f"sqlite:///{tmp_path / name}").migrate()


def test_what_is_wrong_with_a_server_is_said(postgresql_server, make):
    missing = make_url(postgresql_server.url).set(database="gnj_no_such_database")
    with pytest.raises(StorageUnavailable, match="no such database"):
        make(missing.render_as_string(hide_password=False)).check()
    with pytest.raises(StorageUnavailable, match="nothing answers"):
        make("postgresql://u@127.0.0.1:1/x").check()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql+psycopg2", "postgresql+asyncpg", "postgresql"])
def test_what_hosts_call_postgresql(scheme, monkeypatch):
    monkeypatch.setattr(engine_module, "find_spec", lambda _name: None)
    assert engine_module.parsed(f"{scheme}://me@localhost/shop").drivername == "postgresql+psycopg"
