"""The transaction of an operation: committed or rolled back as one, claims of one's own choice, one after the other if asked for."""

# mypy: disable-error-code="comparison-overlap, misc, no-any-return, return-value, type-arg, union-attr, untyped-decorator"

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from datetime import timedelta
from typing import Annotated

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert, select, text

import gnj
from gnj.queue.errors import Conflict, InvalidInput
from gnj.queue.model import Step
from gnj.testing import FakeClock
from tests.operations.conftest import Called, client, driver


@pytest.fixture
def jobs(url):
    with gnj.GNJ(url) as made:
        yield made


def big(least):
    return gnj.Where(input={"size": gnj.Op("gte", least)})


def test_committed_when_it_returns_and_rolled_back_when_it_raises(jobs, call):
    @jobs.mutation
    def twice(tx: gnj.Transaction, fail: bool = False) -> list[gnj.Job]:
        made = [tx.enqueue("a", {"n": 1}), *tx.enqueue_many([gnj.NewJob("a", {"n": 2})])]
        assert tx.count(type="a") == 2
        assert [job.id for job in tx.list(type="a", order=("id",))] == [job.id for job in made]
        if fail:
            raise InvalidInput("no, not these")
        return made

    assert call.error("mutation { twice(fail: true) { id } }") == ("no, not these", "INVALID_INPUT")
    assert jobs.count() == 0
    assert len(call("mutation { twice { id } }")) == 2
    assert jobs.count(type="a") == 2


def test_everything_it_can_do(jobs, call):
    failed = jobs.enqueue("a", recoverable=True)
    jobs.queue.fail(jobs.queue.acquire(["a"]), error="x")
    other = jobs.enqueue("a")
    jobs.cancel(other.id)

    @jobs.mutation
    def everything(tx: gnj.Transaction, failed: int, cancelled: int) -> dict:
        waiting = tx.enqueue("b", unique_id="u", priority=9, name="n", start_after=timedelta(hours=1))
        assert tx.enqueue("b", unique_id="u").id == waiting.id
        recovered = tx.recover(failed)
        retried = tx.retry(cancelled)
        assert tx.get(waiting.id) == waiting
        assert tx.get(10**6) is None
        stopped = tx.cancel(waiting.id)
        held = tx.hold("c")
        assert tx.acquire(["c"]) is None
        first, second = tx.release("c"), tx.release("c")
        claim = tx.acquire(["a"], worker_id="w", lease=30)
        return {
            "statuses": [recovered.status, retried.status, stopped.status],
            "held": held.type,
            "released": [first, second],
            "claimed": [claim.id, claim.worker_id, claim.lease],
        }

    assert call("mutation($f: Int!, $c: Int!) { everything(failed: $f, cancelled: $c) }", f=failed.id, c=other.id) == {
        "statuses": ["queued", "queued", "cancelled"],
        "held": "c",
        "released": [True, False],
        "claimed": [failed.id, "w", 30.0],
    }


def test_only_what_is_the_tenants_own(jobs, call):
    mine, theirs = jobs.enqueue("a", tenant="me"), jobs.enqueue("a", tenant="them")

    @jobs.mutation
    def look(tx: gnj.Transaction, other: int) -> list[int]:
        for verb in (tx.cancel, tx.recover, tx.retry):
            with pytest.raises(gnj.GnjError) as error:
                verb(other)
            assert error.value.code == "JOB_NOT_FOUND"
        assert tx.get(other) is None
        assert tx.count() == 1
        with pytest.raises(InvalidInput):
            tx.count(tenant="them")
        with pytest.raises(InvalidInput):
            tx.list(tenant="them")
        with pytest.raises(InvalidInput):
            tx.enqueue_many([gnj.NewJob("a", tenant="them")])
        with pytest.raises(InvalidInput):
            tx.enqueue_many(["a"])  # type: ignore[list-item]
        made = tx.enqueue("b")
        assert made.tenant == "me"
        assert tx.hold("z").tenant == "me"
        claims = [
            tx.acquire(["a"]),
            tx.acquire(["a"]),
            tx.acquire(["a"], where=gnj.Where()),
            tx.acquire(["b"], order=("id",)),
        ]
        return [claim.id for claim in claims if claim] + [made.id]

    found = call("mutation($id: Int!) { look(other: $id) }", gnj.Principal("p", "me"), id=theirs.id)
    assert found[0] == mine.id
    assert found[1] == found[2]
    assert jobs.get(theirs.id) == theirs


def chosen(jobs):
    @jobs.mutation
    def choose(tx: gnj.Transaction, type_list: list[str], least: int = 0, order: str | None = None) -> gnj.Job | None:
        return tx.acquire(type_list, where=big(least), order=(order,) if order else None, worker_id="w", lease=60)

    def choose_one(call, *types, **more):
        given = "".join(f", {name}: {value}" for name, value in more.items())
        names = ", ".join(f'"{each}"' for each in types)
        found = call(f"mutation {{ choose(typeList: [{names}]{given}) {{ id }} }}")
        return found and found["id"]

    return choose_one


def test_a_claim_of_ones_own_choice_is_a_claim(jobs, call):
    @jobs.handler("a", max_attempts=3, timeout=9)
    def handle(job): ...

    small, large = (jobs.enqueue("a", {"size": size}) for size in (1, 5))
    choose = chosen(jobs)
    assert choose(call, "a", least=3) == large.id
    claimed = jobs.get(large.id)
    (usual,) = [jobs.queue.acquire(["a"], worker_id="w", lease=60)]
    assert usual.id == small.id
    for name in (
        "status",
        "attempt",
        "worker_id",
        "worker_type",
        "lease",
        "max_attempts",
        "timeout",
        "due_at",
        "cancel_seen",
    ):
        assert getattr(claimed, name) == getattr(usual, name), name
    assert claimed.started_at is not None
    assert claimed.lease_expires_at - claimed.started_at == timedelta(seconds=60)
    assert choose(call, "a") is None
    assert jobs.queue.succeed(claimed, output=1).status == "successful"


def test_what_a_choice_passes_over(url, call_on):
    clock = FakeClock()
    with contextlib.closing(on_clock(url, clock)) as storage, gnj.GNJ(storage) as jobs:
        call = Called(jobs)
        choose = chosen(jobs)
        held, everywhere, later, taken, gone = (jobs.enqueue(t, {"size": 9}) for t in ("h", "e", "a", "a", "a"))
        jobs.queue.update_job(later.id, {"start_after": clock() + timedelta(minutes=1)})
        jobs.cancel(taken.id)
        jobs.delete(gone.id)
        jobs.hold("h")
        assert choose(call, "h", "a") is None
        assert choose(call, "a", "e") == everywhere.id
        clock.tick(61)
        jobs.hold("all")
        assert choose(call, "a") is None
        jobs.release("all")
        assert choose(call, "a") == later.id
        jobs.release("h")
        assert choose(call, "h") == held.id
        assert choose(call) is None


@pytest.fixture
def call_on():
    return Called


def on_clock(url, clock):
    from gnj.storage.memory import MemoryStorage
    from gnj.storage.sql import SqlStorage

    if url == "memory://":
        return MemoryStorage(clock)
    storage = SqlStorage(url, clock=clock)
    storage.migrate()
    return storage


def test_the_order_of_a_choice(jobs, call):
    low, high, first = (jobs.enqueue("a", {"size": size}, priority=p) for size, p in ((1, 1), (1, 9), (1, 1)))
    lifo = jobs.enqueue("a", {"size": 1}, priority=1, lifo=True)
    choose = chosen(jobs)
    assert choose(call, "a", order='"-id"') == lifo.id
    assert choose(call, "a") == high.id
    assert choose(call, "a") == low.id
    assert choose(call, "a") == first.id


@pytest.mark.parametrize(
    "given, part",
    [
        ("where: {nothing: 1}", "there is no attribute"),
        ('order: ["nothing"]', "order: job has no field"),
        ('types: [""]', "a job type"),
        ("lease: 0", "lease"),
        ('worker: ""', "workerId"),
    ],
)
def test_a_choice_that_cannot_be(jobs, call, given, part):
    @jobs.mutation
    def pick(
        tx: gnj.Transaction,
        types: list[str] = ["a"],  # noqa: B006
        where: dict = {"size": 1},  # noqa: B006
        order: list[str] = ["id"],  # noqa: B006
        lease: float = 9,
        worker: str = "w",
    ) -> gnj.Job | None:
        condition = gnj.Where(input=where) if "size" in where else gnj.Where(**where)
        return tx.acquire(types, where=condition, order=order, lease=lease, worker_id=worker)

    message, code = call.error(f"mutation {{ pick({given}) {{ id }} }}")
    assert code == "INVALID_INPUT"
    assert part in message


def test_a_claim_that_is_rolled_back_was_none(jobs, call):
    job = jobs.enqueue("a", {"size": 1})

    @jobs.mutation
    def grab(tx: gnj.Transaction) -> None:
        assert tx.acquire(["a"], where=big(1)) is not None
        raise InvalidInput("dropped")

    call.error("mutation { grab }")
    assert jobs.get(job.id) == job


def in_threads(count, work):
    errors: list[BaseException] = []

    def run(n):
        try:
            work(n)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_no_two_choices_are_given_the_same_job(jobs, call):
    choose = chosen(jobs)
    jobs.enqueue_many([gnj.NewJob("a", {"size": n}) for n in range(60)])
    call("{ jobCount }")
    got: list[int] = []

    def work(_n):
        while (id := choose(call, "a", least=10, order='"-id"')) is not None:
            got.append(id)

    in_threads(6, work)
    assert Counter(got) == {job.id: 1 for job in jobs.list(big(10), status="processing")}
    assert len(got) == 50


@pytest.mark.slow_on("sqlite")
def test_acquires_can_be_perfectly_sequential(jobs, call):
    """Each takes what was the largest when it began, and nobody sees what another one does in between."""
    jobs.enqueue_many([gnj.NewJob("a", {"size": (n * 37) % 101}) for n in range(200)])
    order = threading.Lock()
    taken: list[tuple[int, int]] = []

    @jobs.mutation(transaction="serializable", action="work")
    def largest(tx: gnj.Transaction) -> int | None:
        best = max(tx.list(type="a", status="queued"), key=lambda job: (job.input["size"], -job.id), default=None)
        if best is None:
            return None
        # the number is what was counted, so that two that saw the same state would have the same
        place = tx.count(status="processing")
        claimed = tx.acquire(["a"], where=gnj.Where(id=best.id))
        assert claimed is not None
        tx.enqueue("log", [place, claimed.input["size"], claimed.id])
        return claimed.id

    call("{ jobCount }")

    def work(_n):
        while (id := call("mutation { largest }")) is not None:
            with order:
                taken.append(id)

    in_threads(8, work)
    log = sorted(job.input for job in jobs.list(type="log"))
    assert [place for place, _, _ in log] == list(range(200))
    assert [(-size, id) for _, size, id in log] == sorted((-size, id) for _, size, id in log)
    assert len(set(taken)) == 200


def test_a_serializable_operation_is_done_again_when_others_were_in_its_way(jobs, call):
    calls: list[int] = []

    @jobs.mutation(transaction="serializable")
    def unlucky(tx: gnj.Transaction, times: int) -> int:
        tx.enqueue("a")
        calls.append(len(calls))
        if len(calls) <= times:
            raise Conflict
        return len(calls)

    assert call("mutation { unlucky(times: 3) }") == 4
    assert jobs.count() == 1
    calls.clear()
    _, code = call.error("mutation { unlucky(times: 100) }")
    assert code == "CONFLICT"
    assert len(calls) == 8
    assert jobs.count() == 1


def test_an_ordinary_one_is_not(jobs, call):
    calls: list[int] = []

    @jobs.mutation
    def unlucky(tx: gnj.Transaction) -> None:
        calls.append(1)
        raise Conflict

    assert call.error("mutation { unlucky }")[1] == "CONFLICT"
    assert calls == [1]


def test_one_transaction_for_each_root_field(jobs, call):
    @jobs.mutation
    def add(tx: gnj.Transaction, fail: bool) -> int:
        tx.enqueue("a")
        if fail:
            raise InvalidInput("second")
        return tx.count()

    body = jobs.execute("mutation { a: add(fail: false) b: add(fail: true) c: add(fail: false) }")
    assert body["data"] == {"a": 1, "b": None, "c": 2}
    assert [error["message"] for error in body["errors"]] == ["second"]


def test_it_is_over_with_the_operation(jobs, call):
    kept: list[gnj.Transaction] = []

    @jobs.mutation
    def keep(tx: gnj.Transaction) -> None:
        kept.append(tx)

    call("mutation { keep }")
    for use in (kept[0].count, lambda: kept[0].now, lambda: kept[0].connection, lambda: kept[0].enqueue("a")):
        with pytest.raises(RuntimeError, match="the transaction is over"):
            use()
    assert jobs.count() == 0


def test_none_is_opened_where_none_is_asked_for(jobs, call, monkeypatch):
    def refuse(**_):
        raise AssertionError

    @jobs.query(transaction="none")
    def plain() -> int:
        return 1

    @jobs.query
    def untouched() -> int:
        return 2

    _ = jobs.schema, jobs.queue
    monkeypatch.setattr(type(jobs.queue), "transaction", refuse)
    assert (call("{ plain }"), call("{ untouched }")) == (1, 2)


def test_workers_and_hooks_are_told_after_the_commit(jobs, call, monkeypatch):
    told: list[tuple[str, int]] = []

    @jobs.on("created", "started")
    def hear(event):
        told.append((event.name, jobs.count(type="a")))

    @jobs.mutation
    def add(tx: gnj.Transaction, fail: bool = False) -> None:
        tx.enqueue("a", {"size": 1})
        tx.acquire(["a"], where=big(1))
        jobs.hooks.flush(1)
        assert told == woken == []
        if fail:
            raise InvalidInput("no")

    woken: list[int] = []
    monkeypatch.setattr(jobs.queue.wake, "set", lambda: woken.append(jobs.count(type="a")))
    call.error("mutation { add(fail: true) }")
    jobs.hooks.flush(1)
    assert told == woken == []
    call("mutation { add }")
    jobs.hooks.flush(5)
    assert told == [("created", 1), ("started", 1)]
    assert woken == [1]


def test_an_async_operation(jobs, call):
    @jobs.mutation
    async def add(tx: gnj.AsyncTransaction, fail: bool = False) -> list[str]:
        assert (tx.principal.id, tx.tenant) == ("in-process", "")
        made = await tx.enqueue("a", {"size": 3}, unique_id="u")
        await tx.enqueue_many([gnj.NewJob("a", {"size": n}) for n in range(3)])
        counts = await asyncio.gather(*(tx.count(type="a") for _ in range(5)))
        assert counts == [4] * 5
        assert await tx.get(made.id) == made
        claimed = await tx.acquire(["a"], where=big(2), order=("id",), worker_id="w", lease=5)
        assert claimed is not None
        others = await tx.list(type="a", status="queued", order=("id",))
        stopped = await tx.cancel(others[0].id)
        again = await tx.retry(stopped.id)
        assert (await tx.hold("b")).type == "b"
        assert await tx.release("b")
        assert (await tx.now()).tzinfo is not None
        with pytest.raises(gnj.GnjError):
            await tx.recover(claimed.id)
        with_connection = await tx.run(lambda inner: inner.connection is None)
        assert with_connection is (tx.connection is None)
        if fail:
            raise InvalidInput("no")
        return [claimed.status, stopped.status, again.status]

    assert call.error("mutation { add(fail: true) }") == ("no", "INVALID_INPUT")
    assert jobs.count() == 0
    assert call("mutation { add }") == ["processing", "cancelled", "queued"]
    assert jobs.count() == 5


def test_an_async_operation_that_gives_up_waiting_for_a_verb(jobs, call):
    """The verb's thread is waited for before the rollback: both use one connection."""
    entered, go = threading.Event(), threading.Event()

    def slow(tx):
        entered.set()
        go.wait(10)
        return tx.enqueue("a")

    @jobs.mutation
    async def impatient(tx: gnj.AsyncTransaction) -> None:
        task = asyncio.ensure_future(tx.run(slow))
        await asyncio.to_thread(entered.wait)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, go.set)
        raise InvalidInput("enough")

    assert call.error("mutation { impatient }") == ("enough", "INVALID_INPUT")
    assert jobs.count() == 0


def test_a_transaction_may_be_asked_for_in_other_words(jobs, call):
    @jobs.mutation(transaction="serializable")
    def plain(tx: Annotated[gnj.Transaction, "whose"]) -> int:
        return tx.enqueue("a").id

    @jobs.mutation
    async def later(tx: gnj.AsyncTransaction | None) -> int:
        assert tx is not None
        return (await tx.enqueue("a")).id

    assert [call("mutation { plain }"), call("mutation { later }")] == [1, 2]


@pytest.mark.parametrize("way", ["enqueue", "to_thread", "execute"])
@pytest.mark.parametrize("sort", ["memory", pytest.param("sqlite", marks=pytest.mark.backend("sqlite"))])
def test_what_would_wait_for_the_transaction_it_is_in_is_refused_at_once(request, caplog, sort, way):
    jobs = gnj.GNJ("memory://" if sort == "memory" else request.getfixturevalue("sqlite_database")())

    @jobs.mutation
    def plain(tx: gnj.Transaction) -> None:
        tx.enqueue("mine")
        jobs.enqueue("other")

    @jobs.mutation
    async def later(tx: gnj.AsyncTransaction) -> None:
        await tx.enqueue("mine")
        await jobs.enqueue_async("other")

    @jobs.mutation
    def nested(tx: gnj.Transaction) -> None:
        tx.enqueue("mine")
        raise InvalidInput(jobs.execute("mutation { plain }")["errors"][0]["message"])

    name, code = {
        "enqueue": ("plain", "INTERNAL_SERVER_ERROR"),
        "to_thread": ("later", "INTERNAL_SERVER_ERROR"),
        "execute": ("nested", "INVALID_INPUT"),
    }[way]
    with jobs:
        assert Called(jobs).error(f"mutation {{ {name} }}") == ("Internal error", code)
        assert "use its own verbs, such as tx.enqueue rather than jobs.enqueue" in caplog.text
        assert jobs.count() == 0
        jobs.enqueue("a")  # nothing is held any more


def test_where_several_can_write_another_transaction_is_one_of_its_own(postgresql_emptied):
    with gnj.GNJ(postgresql_emptied()) as jobs:

        @jobs.mutation
        def both(tx: gnj.Transaction) -> None:
            tx.enqueue("mine")
            jobs.enqueue("other")
            raise InvalidInput("no")

        @jobs.mutation(transaction="serializable")
        def alone(tx: gnj.Transaction, deep: bool) -> str:
            return jobs.execute("mutation { alone(deep: false) }")["errors"][0]["message"] if deep else "x"

        call = Called(jobs)
        assert call.error("mutation { both }") == ("no", "INVALID_INPUT")
        assert [job.type for job in jobs.list()] == ["other"]
        assert call("mutation { alone(deep: true) }") == "Internal error"


def test_what_goes_on_after_the_operation_is_not_in_it(jobs, call):
    tasks = []
    over = asyncio.Event()

    async def afterwards():
        await over.wait()
        return await jobs.enqueue_async("later")

    @jobs.mutation
    async def start(tx: gnj.AsyncTransaction) -> None:
        await tx.enqueue("first")
        tasks.append(asyncio.ensure_future(afterwards()))

    async def main():
        async with client(jobs) as http:
            await http.post("/jobs/graphql", json={"query": "mutation { start }"})
        over.set()
        await tasks[0]

    asyncio.run(main())
    assert [job.type for job in jobs.list(order=("id",))] == ["first", "later"]


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_ends_more_than_an_operation_ends_the_operation_only(jobs, call, caplog, kind):
    @jobs.mutation
    def plain(tx: gnj.Transaction) -> None:
        tx.enqueue("a")
        raise kind

    @jobs.mutation
    async def later(tx: gnj.AsyncTransaction) -> None:
        await tx.enqueue("a")
        raise kind

    async def main():
        async with client(jobs) as http:
            return [
                (await http.post("/jobs/graphql", json={"query": f"mutation {{ {name} }}"})).json()
                for name in ("plain", "later")
            ]

    for body in (*asyncio.run(main()), jobs.execute("mutation { plain }"), jobs.execute("mutation { later }")):
        (error,) = body["errors"]
        assert error["message"] == "Internal error"
    assert f"Mutation.plain ended with {kind.__name__}" in caplog.text
    assert jobs.count() == 0


def test_in_the_event_loops_own_thread_an_async_one_cannot_be_waited_for(jobs):
    @jobs.query
    async def later() -> int:
        return 1

    async def main():
        return jobs.execute("{ later }"), await asyncio.to_thread(jobs.execute, "{ later }")

    refused, fine = asyncio.run(main())
    assert "asyncio.to_thread" in refused["errors"][0]["message"]
    assert fine == {"data": {"later": 1}}


def test_a_plain_function_that_gives_an_awaitable(jobs, call, caplog):
    async def inner():
        raise AssertionError

    @jobs.mutation
    def sneaky(tx: gnj.Transaction) -> int:
        tx.enqueue("a")
        return inner()

    assert call.error("mutation { sneaky }") == ("Internal error", "INTERNAL_SERVER_ERROR")
    assert "gave an awaitable" in caplog.text
    assert jobs.count() == 0


HOST = Table("host_rows", MetaData(), Column("id", Integer, primary_key=True), Column("n", Integer))


def test_the_hosts_own_tables_in_the_same_transaction(sql_url):
    engine = create_engine(driver(sql_url))
    HOST.metadata.drop_all(engine)
    HOST.metadata.create_all(engine)
    with gnj.GNJ(sql_url) as jobs:

        @jobs.mutation
        def both(tx: gnj.Transaction, n: int, fail: bool = False) -> gnj.Job:
            assert tx.connection is not None
            tx.connection.execute(insert(HOST).values(n=n))
            job = tx.enqueue("a", {"n": tx.connection.execute(select(HOST.c.n)).scalars().all()})
            if fail:
                tx.connection.execute(text("SELECT nonsense FROM nowhere"))
            return job

        call = Called(jobs)
        assert call.error("mutation { both(n: 1, fail: true) { id } }") == ("Internal error", "INTERNAL_SERVER_ERROR")
        assert call("mutation { both(n: 2) { input } }") == {"input": {"n": [2]}}
        with engine.connect() as connection:
            assert connection.execute(select(HOST.c.n)).scalars().all() == [2]
    HOST.metadata.drop_all(engine)
    engine.dispose()


@pytest.mark.backend("postgresql")
def test_a_conflict_in_the_hosts_own_statements_counts_as_well(postgresql_emptied):
    """Another transaction changes the row between the snapshot and the update: PostgreSQL refuses, and all is done again."""
    url = postgresql_emptied()
    engine = create_engine(driver(url))
    HOST.metadata.drop_all(engine)
    HOST.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(HOST).values(id=1, n=0))
    tries: list[int] = []
    with gnj.GNJ(url) as jobs:

        @jobs.mutation(transaction="serializable")
        def add(tx: gnj.Transaction) -> int:
            assert tx.connection is not None
            seen = tx.connection.execute(select(HOST.c.n)).scalar_one()
            tries.append(seen)
            if len(tries) == 1:
                with engine.begin() as other:
                    other.execute(HOST.update().values(n=10))
            tx.connection.execute(HOST.update().values(n=seen + 1))
            return seen

        assert Called(jobs)("mutation { add }") == 10
    assert tries == [0, 10]
    with engine.connect() as connection:
        assert connection.execute(select(HOST.c.n)).scalar_one() == 11
    HOST.metadata.drop_all(engine)
    engine.dispose()


@pytest.mark.backend("mysql")
def test_mysql_is_sequential_too(mysql_database):
    with gnj.GNJ(mysql_database()) as jobs:
        jobs.migrate()
        call = Called(jobs)
        jobs.enqueue_many([gnj.NewJob("a", {"size": n % 7}) for n in range(40)])
        choose = chosen(jobs)

        @jobs.mutation(transaction="serializable")
        def largest(tx: gnj.Transaction) -> int | None:
            best = max(tx.list(status="queued", type="a"), key=lambda job: (job.input["size"], -job.id), default=None)
            place = tx.count(status="processing")
            claimed = best and tx.acquire(["a"], where=gnj.Where(id=best.id))
            if claimed:
                tx.enqueue("log", [place, claimed.input["size"]])
            return claimed and claimed.id

        call("{ jobCount }")
        assert choose(call, "a", least=6) is not None

        def work(_n):
            while call("mutation { largest }") is not None:
                pass

        in_threads(4, work)
        log = sorted(job.input for job in jobs.list(type="log"))
        assert [place for place, _ in log] == list(range(1, 40))
        assert [size for _, size in log] == sorted((size for _, size in log), reverse=True)


def test_a_step_of_a_pipeline_can_be_chosen(jobs, call):
    with jobs.pipeline("p") as p:
        p.add("a", {"size": 1})
        p.add("a", {"size": 2})
    choose = chosen(jobs)
    first = choose(call, "a")
    assert choose(call, "a") is None
    jobs.queue.succeed(jobs.get(first))
    second = choose(call, "a")
    jobs.queue.succeed(jobs.get(second))
    assert {step.status for step in jobs.queue.list(Step)} == {"done"}


@pytest.mark.parametrize("end", ["close", "commit", "rollback"])
def test_an_operation_that_ends_its_transaction_itself_is_told_so(sql_url, end):
    """Not answered as if all were well: nothing, or half of it, was stored."""
    with gnj.GNJ(sql_url) as jobs:

        @jobs.mutation
        def meddle(tx: gnj.Transaction) -> int:
            tx.enqueue("mail")
            getattr(tx.connection, end)()
            return 1

        @jobs.mutation
        def proper(tx: gnj.Transaction) -> int:
            return tx.enqueue("other").id

        call = Called(jobs)
        assert call.error("mutation { meddle }")[1] == "INTERNAL_SERVER_ERROR"
        assert call("mutation { proper }")
        assert jobs.count(type="mail") == (1 if end == "commit" else 0)
