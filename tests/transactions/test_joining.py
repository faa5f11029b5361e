"""`session=` and `connection=`: part of the host's transaction in all that is done, and told after its commit only."""

import gc
import weakref

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import NestedTransaction, RootTransaction
from sqlalchemy.orm import Session, scoped_session, sessionmaker

import gnj
from gnj.queue.errors import IllegalTransition, JobNotFound


def quiet(host):
    return host.heard() == [] and host.changes == []


def test_a_commit_of_the_hosts_makes_it_visible(host, style):
    rings = host.rings()
    with host.opened(style) as (handle, inside):
        host.note(handle)
        job = host.jobs.enqueue("mail", {"to": "ada"}, name="a", **inside)
        assert job.id > 0
        assert (job.name, job.input, job.status) == ("a", {"to": "ada"}, "queued")
        assert host.names() == []
        assert quiet(host)
        assert host.rings() == rings
        handle.commit()
        assert host.rings() == rings + 1
    assert host.jobs.get(job.id) == job
    assert host.notes() == ["note"]
    assert host.heard() == [("created", "a")]
    assert [(change.topic, change.value) for change in host.changes] == [("created", job)]


@pytest.mark.parametrize("end", ["rollback", "close"])
def test_a_rollback_of_the_hosts_leaves_nothing(host, style, end):
    rings = host.rings()
    with host.opened(style) as (handle, inside):
        host.note(handle)
        host.jobs.enqueue("mail", **inside)
        getattr(handle, end)()
    assert host.names() == []
    assert host.notes() == []
    assert quiet(host)
    assert host.rings() == rings
    assert host.jobs.queue.acquire(["mail"]) is None


def test_an_exception_in_a_block_of_the_hosts(host, style):
    with pytest.raises(KeyError), host.opened(style) as (handle, inside), handle.begin():  # noqa: PT012
        host.jobs.enqueue("mail", **inside)
        raise KeyError
    with host.opened(style) as (handle, inside), handle.begin():
        host.jobs.enqueue("mail", name="kept", **inside)
    assert host.names() == ["kept"]
    assert host.heard() == [("created", "kept")]


def test_transactions_one_after_the_other(host, style):
    with host.opened(style) as (handle, inside):
        for number in range(6):
            host.jobs.enqueue("mail", name=f"{number}a", **inside)
            host.jobs.enqueue("mail", name=f"{number}b", **inside)
            handle.commit() if number % 2 else handle.rollback()
    kept = [f"{number}{letter}" for number in (1, 3, 5) for letter in "ab"]
    assert host.names() == kept
    assert host.heard() == [("created", name) for name in kept]


def test_a_savepoint_takes_with_it_what_is_in_it(host, style):
    with host.opened(style) as (handle, inside):
        host.jobs.enqueue("mail", name="before", **inside)
        first = handle.begin_nested()
        host.jobs.enqueue("mail", name="gone 1", **inside)
        first.rollback()
        host.jobs.enqueue("mail", name="between", **inside)
        with handle.begin_nested():
            host.jobs.enqueue("mail", name="kept", **inside)
            with handle.begin_nested():
                host.jobs.enqueue("mail", name="kept inside", **inside)
            lost = handle.begin_nested()
            with handle.begin_nested():
                host.jobs.enqueue("mail", name="gone 2", **inside)
            lost.rollback()
        with pytest.raises(KeyError), handle.begin_nested():  # noqa: PT012
            host.jobs.enqueue("mail", name="gone 3", **inside)
            raise KeyError
        assert quiet(host)
        handle.commit()
    kept = ["before", "between", "kept", "kept inside"]
    assert host.names() == kept
    assert host.heard() == [("created", name) for name in kept]
    assert [change.value.name for change in host.changes] == kept


def test_a_released_savepoint_is_no_commit(host, style):
    with host.opened(style) as (handle, inside):
        host.note(handle)  # SQLite's driver begins here, not before a SAVEPOINT
        with handle.begin_nested():
            host.jobs.enqueue("mail", **inside)
        assert quiet(host)
        handle.rollback()
    assert quiet(host)
    assert host.names() == []


def test_the_commit_of_a_transaction_with_an_open_savepoint(host):
    with host.engine.connect() as connection:
        host.note(connection)
        connection.begin_nested()
        host.jobs.enqueue("mail", name="a", connection=connection)
        connection.commit()
    assert host.names() == ["a"]
    assert host.heard() == [("created", "a")]


def test_a_session_in_a_transaction_of_a_connection(host):
    """As tests of hosts have it: the session commits, and the connection is rolled back."""
    for mode in ("create_savepoint", "rollback_only", "conditional_savepoint"):
        with host.engine.connect() as connection, connection.begin() as outer:
            host.note(connection)
            with Session(connection, join_transaction_mode=mode) as session:
                host.jobs.enqueue("mail", name=mode, session=session)
                session.commit()
                assert quiet(host)
            outer.rollback()
    assert quiet(host)
    with host.engine.connect() as connection:
        with connection.begin():
            host.note(connection)
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                host.jobs.enqueue("mail", name="kept", session=session)
                session.commit()
            assert quiet(host)
        assert host.heard() == [("created", "kept")]
    assert host.names() == ["kept"]


def test_a_scoped_session(host):
    registry = scoped_session(sessionmaker(host.engine))
    host.jobs.enqueue("mail", name="a", session=registry)
    registry.commit()
    host.jobs.enqueue("mail", name="b", session=registry)
    registry.remove()
    assert host.names() == ["a"]
    assert host.heard() == [("created", "a")]


def test_many(host, style):
    new = [gnj.NewJob("mail", {"n": n}, name=str(n), unique_id=f"u{n // 2}") for n in range(6)]
    with host.opened(style) as (handle, inside):
        host.jobs.enqueue_many(new, **inside)
        handle.rollback()
        jobs = host.jobs.enqueue_many(new, **inside)
        assert [job.name for job in jobs] == ["0", "0", "2", "2", "4", "4"]
        assert host.jobs.enqueue("mail", unique_id="u0", **inside).id == jobs[0].id
        handle.commit()
    assert host.names() == ["0", "2", "4"]
    assert host.heard() == [("created", name) for name in ("0", "2", "4")]


def test_a_pipeline(host, style):
    with host.opened(style) as (handle, inside):
        with host.jobs.pipeline("nightly", **inside) as p:
            p.add("scan", name="scan")
            p.batch([("thumbnail", {"n": 1}), "thumbnail"])
        assert p.pipeline.status == "processing"
        handle.rollback()
        assert host.jobs.queue.list(gnj.Pipeline) == []
        with pytest.raises(KeyError), host.jobs.pipeline("broken", **inside) as p:  # noqa: PT012
            p.add("scan")
            raise KeyError
        with host.jobs.pipeline("nightly", **inside) as p:
            p.add("scan", name="scan")
            p.batch([("thumbnail", {"n": 1}), "thumbnail"])
        handle.commit()
    assert [pipeline.name for pipeline in host.jobs.queue.list(gnj.Pipeline)] == ["nightly"]
    assert [job.status for job in host.jobs.list(order=("id",))] == ["queued", "planned", "planned"]
    assert len(host.heard()) == 3


def test_cancel(host, style):
    job = host.jobs.enqueue("mail", name="a")
    with host.opened(style) as (handle, inside):
        assert host.jobs.cancel(job.id, **inside).status == "cancelled"
        handle.rollback()
        assert host.jobs.queue.get(gnj.Job, job.id) == job
        host.jobs.cancel(job.id, **inside)
        assert host.heard() == [("created", "a")]
        handle.commit()
    assert host.heard() == [("created", "a"), ("cancelled", "a")]
    assert host.jobs.count(status="cancelled") == 1


def test_a_command_that_is_refused_leaves_the_transaction_usable(host, style):
    job = host.jobs.enqueue("mail", name="done")
    host.jobs.cancel(job.id)
    with host.opened(style) as (handle, inside):
        host.note(handle)
        with pytest.raises(JobNotFound):
            host.jobs.cancel(10**9, **inside)
        with pytest.raises(IllegalTransition), host.jobs.joined(**inside) as queue:
            queue.recover(job.id)
        with pytest.raises(gnj.GnjError, match="batch"), host.jobs.joined(**inside) as queue:
            queue.create_jobs([{"type": "mail", "name": "x"}, {"type": "mail", "batch_id": 10**9}])
        with pytest.raises(gnj.GnjError, match="type"):
            host.jobs.enqueue("", **inside)
        host.jobs.enqueue("mail", name="after", **inside)
        handle.commit()
    assert host.names() == ["done", "after"]
    assert host.notes() == ["note"]


def test_a_command_that_fails_half_way_leaves_nothing(host, style):
    def halfway(unit):
        unit.tx.insert_jobs([{"type": "mail", "name": "half"}])
        unit.ready = True
        raise KeyError

    def broken(unit):
        unit.tx.insert_jobs([{"type": "mail", "name": "half"}])
        unit.tx.run(text("SELECT nothing FROM nowhere"))

    with host.opened(style) as (handle, inside):
        host.note(handle)
        host.jobs.enqueue("mail", name="before", **inside)
        with host.jobs.joined(**inside) as queue:
            with pytest.raises(KeyError):
                queue.run(halfway)
            with pytest.raises(gnj.GnjError):
                queue.run(broken)
            queue.enqueue(gnj.NewJob("mail", name="after"))
        handle.commit()
    assert host.names() == ["before", "after"]
    assert host.notes() == ["note"]
    assert host.heard() == [("created", "before"), ("created", "after")]


def test_a_duplicate_unique_id_by_update(host, style):
    with host.opened(style) as (handle, inside):
        host.jobs.enqueue("mail", name="a", unique_id="u", **inside)
        other = host.jobs.enqueue("mail", name="b", **inside)
        with host.jobs.joined(**inside) as queue, pytest.raises(gnj.GnjError, match="jobUniqueId"):
            queue.update_job(other.id, {"unique_id": "u"})
        handle.commit()
    assert host.names() == ["a", "b"]


def test_the_end_of_a_job_with_the_work_it_did(host, style):
    """Exactly once: either both are there, or neither."""
    host.jobs.enqueue("mail", name="a")
    claim = host.jobs.queue.acquire(["mail"])
    with host.opened(style) as (handle, inside):
        host.note(handle, "first")
        with host.jobs.joined(**inside) as queue:
            queue.succeed(claim, {"sent": 1})
        handle.rollback()
        assert host.jobs.get(claim.id).status == "processing"
        host.note(handle, "second")
        with host.jobs.joined(**inside) as queue:
            queue.succeed(claim, {"sent": 1})
        assert host.heard() == [("created", "a")]
        handle.commit()
    assert host.notes() == ["second"]
    assert host.heard()[1:] == [("succeeded", "a")]
    # and the worker, whose handler returns the same, may tell it once more
    assert host.jobs.queue.succeed(claim, {"sent": 1}).status == "successful"


def test_a_savepoint_inside_a_joined_block(host, style):
    with host.opened(style) as (handle, inside), host.jobs.joined(**inside) as queue:
        queue.enqueue(gnj.NewJob("mail", name="a"))
        nested = handle.begin_nested()
        queue.enqueue(gnj.NewJob("mail", name="b"))
        nested.rollback()
        queue.enqueue(gnj.NewJob("mail", name="c"))
        handle.commit()
    assert host.names() == ["a", "c"]
    assert host.heard() == [("created", "a"), ("created", "c")]


def test_two_queues_in_one_transaction(host, style):
    """Each tells its own."""
    told = []
    with gnj.GNJ(host.url) as other:
        other.on("created")(lambda event: told.append(event.job.name))
        with host.opened(style) as (handle, inside):
            other.enqueue("mail", name="theirs", **inside)
            host.jobs.enqueue("mail", name="ours", **inside)
            handle.commit()
        other.hooks.flush(30)
    assert told == ["theirs"]
    assert host.heard() == [("created", "ours")]
    assert host.names() == ["theirs", "ours"]


def test_the_engine_of_the_host_itself(host, style):
    with gnj.GNJ(host.engine) as jobs, host.opened(style) as (handle, inside):
        jobs.enqueue("mail", name="a", **inside)
        handle.rollback()
        jobs.enqueue("mail", name="b", **inside)
        handle.commit()
    assert host.names() == ["b"]


def test_a_durable_hook(host, style):
    host.jobs.on("created", durable=True, name="audit")(lambda event: None)
    with host.opened(style) as (handle, inside):
        host.jobs.enqueue("mail", name="gone", **inside)
        handle.rollback()
        host.jobs.enqueue("mail", name="kept", **inside)
        handle.commit()
    assert [(job.type, job.name) for job in host.jobs.list(order=("id",))] == [
        ("mail", "kept"),
        ("hook:audit", "created"),
    ]


def test_nothing_of_the_host_is_changed(host):
    """No listener is left anywhere, and the next transaction is as any."""
    engine = host.engine
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)
    with engine.connect() as connection:
        isolation = connection.get_isolation_level()
        connection.rollback()
        host.note(connection)
        with connection.begin_nested() as nested:
            host.jobs.enqueue("mail", connection=connection)
            assert isinstance(nested, NestedTransaction)
        assert isinstance(connection.get_transaction(), RootTransaction)
        connection.commit()
        assert [name for name in vars(connection) if "gnj" in name] == []
        connection.begin()
        assert type(connection.get_transaction()) is RootTransaction
        assert connection.get_isolation_level() == isolation
        connection.rollback()
    assert len(commits) == 1
    assert host.engine.pool.checkedout() == 0


def test_a_connection_that_is_forgotten_takes_all_with_it(host):
    connection = host.engine.connect()
    host.jobs.enqueue("mail", connection=connection)
    raw = connection.connection
    gone = weakref.ref(connection)
    raw.detach()
    raw.close()
    del connection
    gc.collect()
    assert gone() is None
    assert quiet(host)
