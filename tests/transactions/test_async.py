"""AsyncSession and AsyncConnection, over asyncpg, psycopg and aiosqlite."""

import asyncio

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

import gnj

asynchronous = pytest.importorskip("sqlalchemy.ext.asyncio")
DRIVERS = {"postgresql": ("postgresql+asyncpg", "postgresql+psycopg"), "sqlite": ("sqlite+aiosqlite",)}


@pytest.fixture(params=[0, 1])
def url(request, host):
    drivers = DRIVERS.get(host.kind, ())
    if request.param >= len(drivers):
        pytest.skip("capability: no further asynchronous driver")
    pytest.importorskip(drivers[request.param].partition("+")[2])
    return make_url(host.url).set(drivername=drivers[request.param])


def run(url, style, work):
    async def main():
        engine = asynchronous.create_async_engine(url)
        try:
            async with asynchronous.AsyncSession(engine) if style == "session" else engine.connect() as handle:
                await work(handle, {style: handle})
        finally:
            await engine.dispose()

    asyncio.run(main())


def test_commit_and_rollback(host, style, url):
    rings = host.rings()
    value = {"a": [1, 2.5, None, "ü", {"b": True}], "n": 1e23}

    async def work(handle, inside):
        job = await host.jobs.enqueue_async("mail", value, name="a", priority=7, unique_id="u", **inside)
        assert (job.input, job.priority) == (value, 7)
        await host.jobs.enqueue_many_async([gnj.NewJob("mail", name="b"), gnj.NewJob("mail", unique_id="u")], **inside)
        async with host.jobs.pipeline_async("p", **inside) as p:
            p.add("scan", name="c")
            p.batch(["x", "y"])
        assert p.pipeline.status == "processing"
        await host.jobs.cancel_async(job.id, **inside)
        assert host.heard() == []
        assert host.rings() == rings
        await handle.commit()
        assert host.rings() > rings
        gone = await host.jobs.enqueue_async("mail", name="gone", **inside)
        await host.jobs.cancel_async(gone.id, **inside)
        nested = await handle.begin_nested()
        await nested.rollback()
        await handle.rollback()
        await handle.close()

    run(url, style, work)
    assert host.names() == ["a", "b", "c", None, None]
    assert ("cancelled", "a") in host.heard()
    assert "gone" not in [name for _, name in host.heard()]
    assert host.jobs.list(name="a")[0].input == value


def test_a_savepoint(host, style, url):
    async def work(handle, inside):
        await host.jobs.enqueue_async("mail", name="a", **inside)
        nested = await handle.begin_nested()
        await host.jobs.enqueue_async("mail", name="gone", **inside)
        await nested.rollback()
        async with handle.begin_nested():
            await host.jobs.enqueue_async("mail", name="b", **inside)
        with pytest.raises(gnj.GnjError):
            await host.jobs.cancel_async(10**9, **inside)
        await handle.commit()

    run(url, style, work)
    assert host.names() == ["a", "b"]
    assert host.heard() == [("created", "a"), ("created", "b")]


def test_the_end_of_a_claim(host, style, url):
    host.jobs.enqueue("mail", name="a")
    claim = host.jobs.queue.acquire(["mail"])

    async def work(handle, inside):
        ended = await host.jobs.joined_async(lambda queue: queue.succeed(claim, {"sent": 1}), **inside)
        assert ended.status == "successful"
        assert host.jobs.get(claim.id).status == "processing"
        await handle.commit()

    run(url, style, work)
    assert host.jobs.get(claim.id).output == {"sent": 1}


def test_without_a_transaction_of_the_hosts(host):
    async def main():
        job = await host.jobs.enqueue_async("mail", name="a")
        await host.jobs.enqueue_many_async([gnj.NewJob("mail", name="b")])
        await host.jobs.cancel_async(job.id)
        async with host.jobs.pipeline_async("p") as p:
            p.add("scan", name="c")

    asyncio.run(main())
    assert host.names() == ["a", "b", "c"]


def test_the_other_kind_is_refused(host, url):
    async def main():
        engine = asynchronous.create_async_engine(url)
        try:
            with Session(host.engine) as session, pytest.raises(TypeError, match=r"jobs\.enqueue\(…, session="):
                await host.jobs.enqueue_async("mail", session=session)
            async with asynchronous.AsyncSession(engine) as session, engine.connect() as connection:
                with pytest.raises(TypeError, match=r"await jobs\.enqueue_async\(…, session=session\)"):
                    host.jobs.enqueue("mail", session=session)
                with pytest.raises(TypeError, match=r"await jobs\.cancel_async\(…, connection=connection\)"):
                    host.jobs.cancel(1, connection=connection)
                with pytest.raises(TypeError, match=r"jobs\.enqueue_async\(…, connection=connection\)"):
                    await host.jobs.enqueue_async("mail", session=connection)
        finally:
            await engine.dispose()

    asyncio.run(main())
    assert host.names() == []


def test_the_url_of_an_asynchronous_engine(host, url):
    engine = asynchronous.create_async_engine(url)
    with gnj.GNJ(engine.url) as jobs:
        jobs.enqueue("mail", name="a")
    assert host.names() == ["a"]
    with pytest.raises(gnj.GnjError, match="AsyncEngine"):
        gnj.GNJ(engine)
    asyncio.run(engine.dispose())
