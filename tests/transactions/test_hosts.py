"""Which sessions and connections are taken, and what their databases do."""

import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import create_engine, event, exc, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

import gnj
from gnj.queue.errors import Conflict, InvalidInput, NotMigrated
from gnj.storage.sql import SqlStorage


def only(host, kind):
    if host.kind != kind:
        pytest.skip(f"capability: of {kind} only")


# What is taken ---------------------------------------------------------------------------------------------------------


def test_what_is_no_session_or_connection(host):
    with Session(host.engine) as session, host.engine.connect() as connection:
        for arguments, message in [
            ({"session": session, "connection": connection}, "not both"),
            ({"session": connection}, r"jobs\.enqueue\(…, connection=connection\)"),
            ({"connection": session}, r"jobs\.enqueue\(…, session=session\)"),
            ({"session": "session"}, "must be a SQLAlchemy Session, not str"),
            ({"session": sessionmaker(host.engine)}, "not sessionmaker"),
            ({"connection": host.engine}, "must be a SQLAlchemy Connection, not Engine"),
        ]:
            with pytest.raises(TypeError, match=message):
                host.jobs.enqueue("mail", **arguments)
        with pytest.raises(TypeError, match="joined needs session= or connection="):
            host.jobs.joined()
        with pytest.raises(TypeError, match="not both"):
            host.jobs.pipeline("p", session=session, connection=connection)
    assert host.names() == []


def test_what_cannot_be_worked_on(host):
    connection = host.engine.connect()
    connection.close()
    with pytest.raises(InvalidInput, match="closed"):
        host.jobs.enqueue("mail", connection=connection)
    session = Session(host.engine, close_resets_only=False)
    session.close()
    with pytest.raises(InvalidInput, match="cannot be used"):
        host.jobs.enqueue("mail", session=session)
    with Session() as unbound, pytest.raises(InvalidInput, match="which of its databases"):
        host.jobs.enqueue("mail", session=unbound)
    engine = host.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as each, pytest.raises(InvalidInput, match="AUTOCOMMIT"):
        host.jobs.enqueue("mail", connection=each)


def test_jobs_in_memory():
    engine = create_engine("sqlite://")
    with gnj.GNJ("memory://") as jobs, Session(engine) as session, pytest.raises(gnj.GnjError, match="memory"):
        jobs.enqueue("mail", session=session)
    engine.dispose()


# Another database ------------------------------------------------------------------------------------------------------


def test_another_database(host, style, request, tmp_path):
    if host.kind == "sqlite":
        url = f"sqlite:///{tmp_path}/other.db"
    else:
        made = request.getfixturevalue(f"{host.kind}_database")()
        url = str(make_url(made).set(drivername=host.engine.url.drivername).render_as_string(hide_password=False))
    for engine in (create_engine(url), create_engine("sqlite://")):
        with host.opened(style, engine) as (_, inside), pytest.raises(gnj.WrongDatabase, match="another database"):
            host.jobs.enqueue("mail", **inside)
        engine.dispose()
    assert host.names() == []


def test_another_name_of_the_same_database(host, style, monkeypatch):
    url = make_url(host.url)
    if host.kind == "sqlite":
        folder, _, name = str(url.database).rpartition("/")
        monkeypatch.chdir(folder)
        urls = [url.set(database=name), url.set(database=f"{folder}/../{folder.rpartition('/')[2]}/{name}")]
    else:
        urls = [url.set(host="localhost" if url.host == "127.0.0.1" else "127.0.0.1")]
    for other in urls:
        engine = create_engine(other)
        with host.opened(style, engine) as (handle, inside):
            host.jobs.enqueue("mail", **inside)
            handle.commit()
        engine.dispose()
    assert host.jobs.count() == len(urls)


def test_it_is_asked_once_for_each_engine(host):
    statements = []
    engine = create_engine(host.url)
    event.listen(engine, "before_cursor_execute", lambda c, r, statement, *_: statements.append(statement))
    with Session(engine) as session:
        for _ in range(3):
            host.jobs.enqueue("mail", session=session)
            session.commit()
    engine.dispose()
    marks = {"postgresql": "pg_postmaster_start_time", "mysql": "@@datadir", "sqlite": "database_list"}
    assert len([s for s in statements if marks[host.kind] in s]) == 1


@pytest.mark.backend("postgresql")
def test_another_search_path(host):
    only(host, "postgresql")
    engine = create_engine(host.url, connect_args={"options": "-c search_path=pg_catalog"})
    with engine.connect() as connection, pytest.raises(gnj.WrongDatabase, match="search_path"):
        host.jobs.enqueue("mail", connection=connection)
    engine.dispose()


@pytest.mark.unmigrated
@pytest.mark.backend("postgresql")
def test_tables_that_are_not_there(postgresql_database):
    url = make_url(postgresql_database()).set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    with gnj.GNJ(url) as jobs, engine.connect() as connection:
        with pytest.raises(NotMigrated):
            jobs.enqueue("mail", connection=connection)
        assert connection.execute(text("SELECT 1")).scalar() == 1  # the transaction is as it was
    engine.dispose()


# SQLite ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_session_that_has_written_already(tmp_path, style, end, monkeypatch):
    """Nothing may need a second connection while the host holds the only lock, even to make the tables."""
    engine = create_engine(f"sqlite:///{tmp_path}/new.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE note (word text)"))
    with gnj.GNJ(f"sqlite:///{tmp_path}/new.db") as jobs:
        jobs.on("created", durable=True, name="audit")(lambda event: None)
        with Session(engine) if style == "session" else engine.connect() as handle:
            inside: dict[str, Any] = {style: handle}
            handle.execute(text("INSERT INTO note VALUES ('a')"))
            with monkeypatch.context() as patch:
                patch.setattr(SqlStorage, "_begun", lambda *_, **__: pytest.fail("a second connection"))
                jobs.enqueue("mail", name="a", **inside)
                jobs.enqueue("mail", name="b", **inside)
            getattr(handle, end)()
            jobs.enqueue("mail", name="c", **inside)
            handle.commit()
        names = [job.name for job in jobs.list(type="mail", order=("id",))]
        assert names == (["a", "b", "c"] if end == "commit" else ["c"])
    engine.dispose()


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE"])
def test_a_host_that_begins_by_hand(tmp_path, style, begin):
    engine = create_engine(f"sqlite:///{tmp_path}/new.db")

    @event.listens_for(engine, "connect")
    def connect(raw, record):
        raw.isolation_level = None

    @event.listens_for(engine, "begin")
    def begins(connection):
        connection.exec_driver_sql(begin)

    with gnj.GNJ(f"sqlite:///{tmp_path}/new.db") as jobs:
        with Session(engine) if style == "session" else engine.connect() as handle:
            inside: dict[str, Any] = {style: handle}
            jobs.enqueue("mail", name="gone", **inside)
            handle.rollback()
            with handle.begin_nested():
                jobs.enqueue("mail", name="a", **inside)
            handle.commit()
        assert [job.name for job in jobs.list()] == ["a"]
    engine.dispose()


# PostgreSQL ------------------------------------------------------------------------------------------------------------


@pytest.mark.backend("postgresql")
def test_a_commit_that_fails(host, style):
    only(host, "postgresql")
    with host.engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)"))
    rings = host.rings()
    with host.opened(style) as (handle, inside):
        handle.execute(text("INSERT INTO once VALUES (1), (1)"))
        host.jobs.enqueue("mail", name="gone", **inside)
        with pytest.raises(exc.IntegrityError):
            handle.commit()
        if style == "connection":
            with pytest.raises(InvalidInput, match="roll it back first"):
                host.jobs.enqueue("mail", **inside)
        handle.rollback()
        assert host.heard() == []
        assert host.rings() == rings
        host.jobs.enqueue("mail", name="kept", **inside)
        handle.commit()
    assert host.names() == ["kept"]
    assert host.heard() == [("created", "kept")]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_strict_host(host, style, level):
    if host.kind == "sqlite":
        pytest.skip("capability: one transaction at a time")
    engine = create_engine(host.url, isolation_level=level)
    with host.opened(style, engine) as (handle, inside):
        handle.execute(text("SELECT * FROM note")).all()
        host.jobs.enqueue("mail", name="first", unique_id="u")
        if host.kind == "postgresql":
            with pytest.raises(Conflict):
                host.jobs.enqueue("mail", unique_id="u", **inside)
        else:
            assert host.jobs.enqueue("mail", unique_id="u", **inside).name == "first"
        host.note(handle)
        host.jobs.enqueue("mail", name="second", unique_id="v", **inside)
        assert handle.execute(text("SELECT word FROM note")).scalar() == "note"
        handle.commit()
    engine.dispose()
    assert host.names() == ["first", "second"]


# Workers ---------------------------------------------------------------------------------------------------------------


def test_a_worker_of_this_process_wakes_after_the_commit(host, style):
    ran = []
    host.jobs.handler("mail")(lambda job: ran.append(job.name))
    worker = host.jobs.worker(poll=600)
    worker.start()
    try:
        with host.opened(style) as (handle, inside):
            host.jobs.enqueue("mail", name="gone", **inside)
            handle.rollback()
            job = host.jobs.enqueue("mail", name="kept", **inside)
            assert ran == []
            handle.commit()
        queue, seen = host.jobs.queue, -1
        while host.jobs.get(job.id).status != "successful":
            seen = queue.wake.wait(seen, 0.05)
        assert ran == ["kept"]
    finally:
        worker.stop(grace=5)


WORKER = """
import sys, gnj
jobs = gnj.GNJ(sys.argv[1])

@jobs.handler("mail")
def mail(job):
    print(job.name, flush=True)

worker = jobs.worker(poll=600)
worker.start()
print("ready", flush=True)
sys.stdin.read()
worker.stop(grace=5)
"""


@pytest.mark.backend("postgresql")
def test_a_worker_of_another_process_wakes_after_the_commit(host, style):
    only(host, "postgresql")
    command = [sys.executable, "-c", WORKER, host.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with host.opened(style) as (handle, inside):
            host.jobs.enqueue("mail", name="gone", **inside)
            handle.rollback()
            host.jobs.enqueue("mail", name="kept", **inside)
            handle.commit()
        assert process.stdout.readline() == "kept\n"
        process.communicate(timeout=20)
