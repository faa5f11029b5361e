"""Migrations: by many at once, not over what is newer, under any prefix, and to exactly the tables of `schema.py`."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import inspect, text

from gnj.queue.errors import DatabaseTooNew, InvalidInput, NotMigrated
from gnj.queue.model import Hold, Job
from gnj.queue.model_transform import TransformFormat, TransformMapping, TransformSource
from gnj.queue.states import JOB_MOVES, JobStatus
from gnj.queue.storage import Select
from gnj.storage.sql import SqlStorage
from gnj.storage.sql.migrate import context_of, revisions, scripts_of_package
from gnj.storage.sql.schema import Tables
from tests.processes import FORKSERVER

pytestmark = pytest.mark.unmigrated

PLACES = {"default": {}, "prefix": {"prefix": "q_"}, "no prefix": {"prefix": ""}, "schema": {"schema": "jobs"}}
CLAIM = JOB_MOVES["claim"].changes(JobStatus.QUEUED)


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def url(request):
    return request.getfixturevalue(f"{request.param}_database")()


@pytest.fixture
def make(url):
    made = []

    def make(**options):
        made.append(SqlStorage(url, **options))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


def migrate_when_told(url, begin, results):
    try:
        storage = SqlStorage(url)
        begin.wait(60)
        storage.migrate()
        storage.check()
        storage.insert_jobs([{"type": "mail"}])
        storage.close()
        results.put("done")
    except BaseException as error:
        results.put(repr(error))
        raise


@pytest.mark.slow_on("mysql")
def test_eight_processes_at_once(url, make):
    begin, results = FORKSERVER.Barrier(8), FORKSERVER.Queue()
    processes = [FORKSERVER.Process(target=migrate_when_told, args=(url, begin, results)) for _ in range(8)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["done"] * 8
    for process in processes:
        process.join(60)
    assert make().count(Job) == 8


def options_for(place, url):
    if "schema" in PLACES[place] and not url.startswith("postgresql"):
        pytest.skip("capability: only PostgreSQL has schemas")
    return PLACES[place]


@pytest.mark.slow_on("prefix")
@pytest.mark.parametrize("place", PLACES)
def test_the_database_is_what_the_schema_says(url, make, place):
    storage = make(**options_for(place, url))
    storage.migrate()
    options = {
        "version_table": storage.tables.version_table,
        "version_table_schema": storage.tables.schema,
        "include_schemas": storage.tables.schema is not None,
        "compare_type": True,
        "compare_server_default": True,
    }
    with storage.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        with warnings.catch_warnings():
            # the server spells a generated column's expression in words of its own; see the test after this one
            warnings.filterwarnings("ignore", "Computed default")
            differences = compare_metadata(context, storage.tables.metadata)
    if storage.dialect.name == "sqlite":  # numbers its rows without an IDENTITY
        differences = [d for d in differences if not (d[0][0] == "modify_default" and d[0][3] == "id")]
    if storage.dialect.name == "mysql":  # writes defaults in a form of its own; see the next test, too
        differences = [d for d in differences if d[0][0] != "modify_default"]
    assert differences == []


@pytest.mark.slow_on("mysql")
def test_conditions_of_indexes_and_what_compare_does_not_see(url, make):
    """Made from the schema and made by the migrations, a database has the same text in its catalogue."""
    storage, plain = make(), make(prefix="plain_")
    storage.migrate()
    plain.tables.metadata.create_all(plain.engine)
    assert catalogue(storage) == catalogue(plain)
    assert catalogue(storage)


def catalogue(storage):
    if storage.dialect.name == "mysql":
        return catalogue_of_mysql(storage)
    if storage.dialect.name == "sqlite":
        sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name LIKE :name"
    else:
        sql = """
            SELECT indexdef FROM pg_indexes WHERE tablename LIKE :name UNION ALL
            SELECT relname || reloptions::text FROM pg_class WHERE relname LIKE :name AND reloptions IS NOT NULL UNION ALL
            SELECT table_name || column_name || coalesce(collation_name, '') || coalesce(generation_expression, '')
            || coalesce(identity_generation, '') || coalesce(datetime_precision::text, '')
            FROM information_schema.columns WHERE table_name LIKE :name"""
    with storage.engine.connect() as connection:
        found = connection.execute(text(sql), {"name": f"{storage.tables.prefix}%"}).scalars()
        lines = [" ".join(line.replace(storage.tables.prefix, "X_").split()) for line in found]
    plain = (line.replace("CONSTRAINT X_", "CONSTRAINT ").replace('"', "") for line in lines if "alembic" not in line)
    # a column that a migration adds stands last in its table, whatever its place in the schema
    return sorted(
        ", ".join(sorted(part.strip(" )") for part in line.split(","))) if "CREATE TABLE" in line else line
        for line in plain
    )


def catalogue_of_mysql(storage):
    lines = []
    with storage.engine.connect() as connection:
        for table in storage.tables.metadata.tables.keys() & inspect(connection).get_table_names():
            made = connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()[1]
            lines += [line.strip(" ,") for line in made.splitlines() if not line.startswith(")")]
    return sorted(line.replace(storage.tables.prefix, "X_") for line in lines)


@pytest.mark.slow_on("mysql")
@pytest.mark.parametrize("place", PLACES)
def test_a_place_of_ones_own(url, make, place):
    """Every statement goes to the tables of that prefix and schema, and to no others."""
    options = options_for(place, url)
    storage, other = make(**options), make(prefix="other_")
    storage.migrate()
    other.migrate()
    storage.check()
    first, _ = storage.insert_jobs([{"type": "a", "unique_id": "k"}, {"type": "b"}])
    storage.insert(Hold, [{"type": "b"}])
    claimed = storage.claim(["a", "b"], 5, lease=30, changes=CLAIM)
    assert [job.id for job in claimed] == [first[0].id]
    with storage.begin() as tx:
        tx.signal()
    assert storage.renew([(first[0].id, 1)], 60) != [None]
    assert other.count(Job) == other.count(Hold) == 0
    names = inspect(storage.engine).get_table_names(schema=options.get("schema"))
    assert {name for name in names if not name.startswith("other_")} == {
        f"{storage.tables.prefix}{table.name.removeprefix(storage.tables.prefix)}"
        for table in storage.tables.metadata.tables.values()
    } | {storage.tables.version_table}


def test_a_newer_database_is_refused_with_both_versions_named(make):
    storage = make()
    storage.migrate()
    with storage.engine.begin() as connection:
        connection.execute(text(f"UPDATE {storage.tables.version_table} SET version_num = '7777'"))
        connection.commit()
    for call in (storage.migrate, storage.check):
        with pytest.raises(DatabaseTooNew, match=rf"7777.*{revisions()[-1]}"):
            call()


def test_what_is_there_outlives_the_tables_of_queues(make):
    """The migration adds to a database that is in use, and can be taken back, and made again."""
    storage = make()
    scripts = scripts_of_package()
    queues = next(script for script in scripts.walk_revisions() if script.path.endswith("_queues.py"))
    hold, job = (f"{storage.tables.prefix}{name}" for name in ("hold", "job"))

    def change(work):
        with storage.engine.begin() as connection:
            context = context_of(connection, storage.tables)
            work(Operations(context), context, connection)
            connection.commit()

    def up(operations, context, _connection, target=queues.revision):
        current = context.get_current_revision() or "base"
        for script in reversed(list(scripts.iterate_revisions(target, current))):
            script.module.upgrade(operations, storage.tables)
            context.stamp(scripts, script.revision)

    def fill(_operations, _context, connection):
        types = {"hold": "type", "job": "type, limit_key"}
        connection.execute(
            text(f"INSERT INTO {hold} (created_at, updated_at, {types['hold']}) VALUES ({now}, {now}, 'a')")
        )
        values = f"VALUES ({now}, {now}, 'a', 'k'), ({now}, {now}, 'b', 'k')"
        connection.execute(text(f"INSERT INTO {job} (created_at, updated_at, {types['job']}) {values}"))

    def down(operations, context, _connection):
        queues.module.downgrade(operations, storage.tables)
        context.stamp(scripts, queues.down_revision)

    now = "now()" if storage.dialect.name == "postgresql" else "0"
    change(partial(up, target=queues.down_revision))
    before = catalogue(storage)
    change(fill)
    for _ in range(2):
        change(up)
        if queues.revision == revisions()[-1]:
            storage.check()
            assert [(row.type, row.held, row.limited) for row in storage.find(Hold)] == [("a", True, False)]
            assert [(job.type, job.limit_key) for job in storage.find(Job)] == [("a", "k"), ("b", "k")]
        change(down)
        assert catalogue(storage) == before


def test_what_was_saved_gets_its_size_and_what_was_deleted_goes(make):
    """To the byte, but for JSON in PostgreSQL, which spells it with blanks; on MySQL also where it was cut short and begins anew."""
    storage = make()
    scripts = scripts_of_package()
    sizes = next(script for script in scripts.walk_revisions() if script.path.endswith("_transform_sizes.py"))
    now = "now()" if storage.dialect.name == "postgresql" else "0"

    def name(table):
        return f"{storage.tables.prefix}transform_{table}"

    with storage.engine.begin() as connection:
        context = context_of(connection, storage.tables)
        operations = Operations(context)
        for script in reversed(list(scripts.iterate_revisions("0009", "base"))):
            script.module.upgrade(operations, storage.tables)
            context.stamp(scripts, script.revision)
        for columns, values in (
            ("type, url, headers", "'Feed', 'ß', '[\"A: b\"]'"),
            ("type, credentials, body", "'Feed', 'sealed', 'x'"),
        ):
            statement = (
                f"INSERT INTO {name('source')} (created_at, updated_at, {columns}) VALUES ({now}, {now}, {values})"
            )
            connection.exec_driver_sql(statement)
        for deleted in ("NULL", now):
            values = f"VALUES ({now}, {now}, {deleted}, 'm', '[{{\"sourceField\":\"ß\"}}]')"
            columns = "(created_at, updated_at, deleted_at, name, mapping)"
            connection.exec_driver_sql(f"INSERT INTO {name('mapping')} {columns} {values}")
        values = f"VALUES ({now}, {now}, '{{\"a\":{{}}}}', '[\"a\"]')"
        connection.exec_driver_sql(
            f"INSERT INTO {name('format')} (created_at, updated_at, definition, fields) {values}"
        )
        for _ in range(2 if storage.dialect.name == "mysql" else 1):
            sizes.module.upgrade(operations, storage.tables)
        context.stamp(scripts, sizes.revision)
        connection.commit()
    storage.migrate()
    first, second = storage.find(TransformSource, Select(deleted=True))
    (mapping,) = storage.find(TransformMapping, Select(deleted=True))
    (format,) = storage.find(TransformFormat, Select(deleted=True))
    blank = storage.dialect.name == "postgresql"
    assert (first.size, second.size) == (4 + 2 + len('["A: b"]'), 4 + 6 + 1)
    assert mapping.size == 1 + len('[{"sourceField":"ß"}]'.encode()) + blank
    assert format.size == len('{"a":{}}["a"]') + blank
    with storage.engine.begin() as connection:
        sizes.module.downgrade(Operations(context_of(connection, storage.tables)), storage.tables)
        connection.commit()
    columns = inspect(storage.engine).get_columns(f"{storage.tables.prefix}transform_mapping")
    assert "size" not in {column["name"] for column in columns}


def test_an_older_database_is_not_migrated(make):
    storage = make()
    with pytest.raises(NotMigrated):
        storage.check()
    storage.migrate()
    storage.check()
    with storage.engine.begin() as connection:
        connection.execute(text(f"DELETE FROM {storage.tables.version_table}"))
        connection.commit()
    with pytest.raises(NotMigrated):
        storage.check()


@pytest.mark.parametrize(
    "options", [{"prefix": "a-b"}, {"prefix": "x" * 21}, {"schema": 'a"b'}, {"schema": ""}, {"prefix": "1a"}]
)
def test_what_is_no_name(options):
    with pytest.raises(InvalidInput):
        Tables(**options)


@pytest.mark.slow_on("mysql")
def test_ids_are_never_used_twice(make):
    storage = make()
    storage.migrate()
    ((job, _),) = storage.insert_jobs([{"type": "a"}])
    with storage.engine.begin() as connection:
        connection.execute(storage.tables.job.delete())
        connection.commit()
    ((after, _),) = storage.insert_jobs([{"type": "a"}])
    assert after.id > job.id


def test_the_revisions_are_those_that_alembic_finds():
    """Which are read without it, from the names of their files."""
    scripts = scripts_of_package()
    assert list(revisions()) == [script.revision for script in scripts.walk_revisions()][::-1]
    assert revisions()[-1] == scripts.get_current_head()
