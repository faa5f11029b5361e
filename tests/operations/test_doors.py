"""The three doors over HTTP: `customAcquire`, as the original's manual has it, through each; who may; where async ones run."""

# mypy: disable-error-code="arg-type, assignment, attr-defined, comparison-overlap, method-assign, misc, no-any-return, type-arg, union-attr, untyped-decorator, var-annotated"

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from ariadne import EnumType, MutationType, ObjectType, QueryType, ScalarType

import gnj
from tests.operations.conftest import client

ACQUIRE = """mutation ($typeList: [String!]!, $least: Int) {
  customAcquire(typeList: $typeList, least: $least) { id status attempt workerId input batch { id } }
}"""


def least_size(least):
    return gnj.Where(input={"size": gnj.Op("gte", 0 if least is None else least)})


def by_function(url, **options):
    jobs = gnj.GNJ(url, **options)

    @jobs.mutation(action="work")
    def custom_acquire(tx: gnj.Transaction, type_list: list[str], least: int | None = None) -> gnj.Job | None:
        """Acquire the largest job first."""
        return tx.acquire(type_list, where=least_size(least), order=("-priority",), worker_id=tx.principal.id)

    return jobs


def by_async_function(url, **options):
    jobs = gnj.GNJ(url, **options)

    @jobs.mutation(action=gnj.access.Kind.WORK)
    async def custom_acquire(
        tx: gnj.AsyncTransaction, type_list: list[str], least: int | None = None
    ) -> gnj.Job | None:
        """Acquire the largest job first."""
        return await tx.acquire(type_list, where=least_size(least), order=("-priority",), worker_id=tx.principal.id)

    return jobs


def by_sdl(url, **options):
    jobs = gnj.GNJ(url, **options)
    mutation = MutationType()

    @mutation.field("customAcquire")
    def resolve(_source, info, typeList, least=None):  # noqa: N803
        tx = info.context["tx"]
        assert info.context.get("tx").count() >= 0
        assert info.context["gnj"] is jobs
        assert info.context["principal"] is tx.principal
        assert info.context["request"].transport == "http"
        return tx.acquire(typeList, where=least_size(least), order=("-priority",), worker_id=tx.principal.id)

    text = 'extend type Mutation {\n  "Acquire the largest job first."\n  customAcquire(typeList: [String!]!, least: Int): job\n}'
    jobs.extend(type_defs=text, bindables=[mutation], action="work")
    return jobs


def by_async_sdl(url, **options):
    jobs = gnj.GNJ(url, **options)
    mutation = MutationType()

    @mutation.field("customAcquire")
    async def resolve(_source, info, typeList, least=None):  # noqa: N803
        tx = info.context["tx"]
        return await tx.acquire(typeList, where=least_size(least), order=("-priority",), worker_id=tx.principal.id)

    text = (
        'extend type Mutation { "Acquire the largest job first." customAcquire(typeList: [String!]!, least: Int): job }'
    )
    jobs.extend(type_defs=[text], bindables=[mutation], action="work")
    return jobs


def by_mapping(url, **options):
    def resolve(source, args, context):
        """Acquire the largest job first."""
        tx = context["tx"]
        assert context["gnj"] is jobs
        return tx.acquire(
            args["typeList"],
            where=least_size(args.get("least")),
            order=("-priority",),
            worker_id=context["principal"].id,
        )

    operation = gnj.Operation(
        type="job", args={"typeList": "[String!]!", "least": "Int"}, resolve=resolve, action="work"
    )
    jobs = gnj.GNJ(url, custom_mutations={"customAcquire": operation}, **options)
    return jobs


def by_async_mapping(url, **options):
    async def resolve(source, args, context):
        tx = context["tx"]
        return await tx.acquire(
            args["typeList"],
            where=least_size(args.get("least")),
            order=("-priority",),
            worker_id=context["principal"].id,
        )

    operation = gnj.Operation(
        type="job",
        args={"typeList": "[String!]!", "least": "Int"},
        resolve=resolve,
        description="Acquire the largest job first.",
        action="work",
    )
    return gnj.GNJ(url, custom_mutations={"customAcquire": operation}, **options)


DOORS = [by_function, by_async_function, by_sdl, by_async_sdl, by_mapping, by_async_mapping]


def ask(jobs, query, variables=None, headers=None):
    """The answer to a request over HTTP."""

    async def main():
        async with client(jobs) as http:
            sent = {"query": query, "variables": variables or {}}
            answer = await http.post("/jobs/graphql", json=sent, headers=headers)
            return answer.json()

    return asyncio.run(main())


@pytest.mark.slow_on("postgresql")
@pytest.mark.parametrize("door", DOORS)
def test_custom_acquire(sql_url, door):
    with door(sql_url) as jobs:
        small, large, first = (
            jobs.enqueue("a", {"size": size}, priority=priority) for size, priority in ((1, 9), (5, 4), (7, 4))
        )
        taken = ask(jobs, ACQUIRE, {"typeList": ["a"], "least": 2})["data"]["customAcquire"]
        assert taken == {
            "id": large.id,
            "status": "processing",
            "attempt": 1,
            "workerId": "local",
            "input": {"size": 5},
            "batch": None,
        }
        assert ask(jobs, ACQUIRE, {"typeList": ["a"]})["data"]["customAcquire"]["id"] == small.id
        assert ask(jobs, ACQUIRE, {"typeList": ["a"]})["data"]["customAcquire"]["id"] == first.id
        assert ask(jobs, ACQUIRE, {"typeList": ["a"]}) == {"data": {"customAcquire": None}}
        (error,) = ask(jobs, ACQUIRE, {"typeList": [""]})["errors"]
        assert error["extensions"]["code"] == "INVALID_INPUT"
        (error,) = ask(jobs, ACQUIRE, {"typeList": ["a"], "least": 2**40})["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        shown = ask(jobs, '{ __type(name: "Mutation") { fields { name description } } }')["data"]["__type"]["fields"]
        assert {"name": "customAcquire", "description": "Acquire the largest job first."} in shown


@pytest.mark.parametrize("door", DOORS)
def test_the_doors_ask_who_may(door):
    asked = []

    def authorize(principal, action, target):
        asked.append((principal.id, action.name, action.kind, target))
        return principal.id == "good"

    def authenticate(context):
        name = context.headers.get("x-me")
        return gnj.Principal(name, tenant="t") if name else None

    with door("memory://", authenticate=authenticate, authorize=authorize) as jobs:
        mine = jobs.enqueue("a", {"size": 1}, tenant="t")
        jobs.enqueue("a", {"size": 1})
        variables = {"typeList": ["a"]}
        assert ask(jobs, ACQUIRE, variables)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        refused = ask(jobs, ACQUIRE, variables, {"x-me": "bad"})
        assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert refused["data"] == {"customAcquire": None}
        assert jobs.count(status="queued") == 2
        taken = ask(jobs, ACQUIRE, variables, {"x-me": "good"})["data"]["customAcquire"]
        assert (taken["id"], taken["workerId"]) == (mine.id, "good")
        assert ask(jobs, ACQUIRE, variables, {"x-me": "good"})["data"] == {"customAcquire": None}
    assert set(asked) == {("bad", "customAcquire", "work", None), ("good", "customAcquire", "work", None)}


def test_the_kind_of_action_unless_told_otherwise():
    asked = {}

    def authorize(principal, action, target):
        asked[action.name] = (action.kind, target)
        return True

    with gnj.GNJ("memory://", authorize=authorize) as jobs:
        jobs.extend("extend type Query { b: Int } extend type Mutation { b: Int }", [both("Query"), both("Mutation")])

        @jobs.query
        def a(id: int) -> int:
            return id

        @jobs.mutation(name="c")
        def change(id: int) -> int:
            return id

        ask(jobs, "{ a(id: 3) }")
        ask(jobs, "mutation { c(id: 4) }")
        assert asked == {"a": ("read", 3), "c": ("admin", 4)}
        ask(jobs, "{ b }")
        assert asked["b"] == ("read", None)
        ask(jobs, "mutation { b }")
        assert asked["b"] == ("admin", None)


def both(root):
    found = ObjectType(root)
    found.set_field("b", lambda *_: 1)
    return found


def test_scopes_of_stored_tokens_hold_for_custom_fields(sqlite_database):
    with by_function(sqlite_database()) as jobs:
        jobs.enqueue("a", {"size": 1})
        reader = jobs.create_token("reader", scopes=["read"])
        worker = jobs.create_token("worker", scopes=["work"])
        variables = {"typeList": ["a"]}
        refused = ask(jobs, ACQUIRE, variables, {"authorization": f"Bearer {reader}"})
        assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        taken = ask(jobs, ACQUIRE, variables, {"authorization": f"Bearer {worker}"})
        assert taken["data"]["customAcquire"]["workerId"] == "token:worker"


@pytest.mark.parametrize("door", ["function", "sdl", "mapping"])
def test_what_goes_wrong_is_masked_unless_it_is_gnjs(door, caplog):
    class Own(gnj.GnjError):
        """Too many of them."""

        code = "TOO_MANY"

    def fail(kind):
        if kind == "own":
            raise Own
        raise ValueError("the password is hunter2")

    jobs = gnj.GNJ(
        "memory://",
        custom_mutations={
            "fail3": gnj.Operation(type="Int", args={"kind": "String"}, resolve=lambda s, a, c: fail(a["kind"]))
        },
    )
    mutation = MutationType()
    mutation.set_field("fail2", lambda *_, kind: fail(kind))
    jobs.extend("extend type Mutation { fail2(kind: String): Int }", [mutation])

    @jobs.mutation
    def fail1(kind: str) -> int:
        return fail(kind)

    name = {"function": "fail1", "sdl": "fail2", "mapping": "fail3"}[door]
    (own,) = ask(jobs, f'mutation {{ {name}(kind: "own") }}')["errors"]
    assert (own["message"], own["extensions"]) == ("Too many of them.", {"code": "TOO_MANY"})
    answer = ask(jobs, f'mutation {{ {name}(kind: "x") }}')
    assert "hunter2" not in str(answer)
    (masked,) = answer["errors"]
    assert masked["message"] == "Internal error"
    assert masked["extensions"]["errorId"] in caplog.text
    assert "hunter2" in caplog.text


def test_async_operations_run_on_the_hosts_event_loop():
    """What belongs to the host's loop works in them, and the loop goes on meanwhile."""
    seen = {}
    jobs = gnj.GNJ("memory://")
    query = QueryType()

    @jobs.query
    async def meet() -> str:
        seen["loop"] = asyncio.get_running_loop()
        seen["thread"] = threading.get_ident()
        return await seen["question"]

    @query.field("meetSdl")
    async def meet_sdl(*_: Any) -> str:
        return str(asyncio.get_running_loop() is seen["loop"])

    jobs.extend("extend type Query { meetSdl: String }", [query])

    async def main():
        loop = asyncio.get_running_loop()
        seen["question"] = loop.create_future()
        async with client(jobs) as http:
            asked = asyncio.ensure_future(http.post("/jobs/graphql", json={"query": "{ meet }"}))
            while "loop" not in seen:  # noqa: ASYNC110 - the loop is what is tested
                await asyncio.sleep(0.001)
            seen["question"].set_result("of all places")
            first = (await asked).json()
            second = (await http.post("/jobs/graphql", json={"query": "{ meetSdl }"})).json()
            return first, second, seen["loop"] is loop, seen["thread"] == threading.get_ident()

    assert asyncio.run(main()) == ({"data": {"meet": "of all places"}}, {"data": {"meetSdl": "True"}}, True, True)


def test_async_operations_do_not_wait_for_each_other():
    jobs = gnj.GNJ("memory://")
    there: list[int] = []

    @jobs.query(transaction="none")
    async def gather(count: int) -> int:
        there.append(1)
        while len(there) < count:  # noqa: ASYNC110 - an event would belong to one loop
            await asyncio.sleep(0.001)
        return len(there)

    async def main():
        async with client(jobs) as http:
            answers = await asyncio.gather(
                *(http.post("/jobs/graphql", json={"query": "{ gather(count: 4) }"}) for _ in range(4))
            )
            return [answer.json()["data"]["gather"] for answer in answers]

    assert asyncio.run(asyncio.wait_for(main(), 20)) == [4] * 4


class Money:
    def __init__(self, cents):
        self.cents = cents


def test_all_sorts_of_bindables():
    jobs = gnj.GNJ("memory://")
    query, thing, job = QueryType(), ObjectType("Thing"), ObjectType("job")
    money = ScalarType("Money", serializer=lambda value: value.cents, value_parser=Money)
    color = EnumType("Color", {"RED": 7})

    @query.field("thing")
    def resolve_thing(_source, _info, *, price, color):
        return {"price": Money(price.cents + 1), "color": color, "plain": 1, "job": jobs.get(1)}

    thing.set_field("resolved", lambda source, _info, times: source["plain"] * times)
    job.set_field("sizeOf", lambda row, info: len(row.input) + len(info.context["principal"].id))
    jobs.extend(
        """
        scalar Money
        enum Color { RED }
        type Thing { price: Money color: Color plain: Int missing: Int resolved(times: Int!): Int job: job }
        extend type job { sizeOf: Int }
        extend type Query { thing(price: Money!, color: Color!): Thing }
        """,
        [query, thing, money, [color], job],
    )
    jobs.enqueue("a", {"a": 1, "b": 2})
    asked = "{ thing(price: 5, color: RED) { price color plain resolved(times: 3) job { id sizeOf } %s } }"
    told = ask(jobs, asked % "")
    assert told == {
        "data": {
            "thing": {
                "price": 6,
                "color": "RED",
                "plain": 1,
                "resolved": 3,
                "job": {"id": 1, "sizeOf": 2 + len("local")},
            }
        }
    }
    (error,) = ask(jobs, asked % "missing")["errors"]
    assert error["message"] == "Internal error"


def test_the_transaction_of_sdl_is_opened_when_it_is_looked_up(sql_url):
    with gnj.GNJ(sql_url) as jobs:
        opened = []
        mutation = MutationType()

        @mutation.field("look")
        def look(_source, info, *, at, fail):
            if at:
                assert info.context["tx"] is not None
                info.context["tx"].enqueue("a")
                assert info.context["tx"].count() == info.context["tx"].count(type="a")
            if fail:
                raise gnj.GnjError("no")
            with pytest.raises(KeyError):
                info.context["nothing"]
            return len(opened)

        jobs.extend("extend type Mutation { look(at: Boolean!, fail: Boolean!): Int }", [mutation])
        queue, begin = jobs.queue, jobs.queue.transaction

        def counted(**options):
            opened.append(1)
            return begin(**options)

        queue.transaction = counted
        assert jobs.execute("mutation { look(at: false, fail: false) }")["data"] == {"look": 0}
        assert jobs.execute("mutation { look(at: true, fail: false) }")["data"] == {"look": 1}
        assert jobs.execute("mutation { look(at: true, fail: true) }")["errors"][0]["message"] == "no"
        assert jobs.count() == 1


def test_there_is_no_transaction_where_none_was_wanted(caplog):
    jobs = gnj.GNJ("memory://")
    query = QueryType()
    query.set_field("look", lambda _, info: info.context["tx"])
    jobs.extend("extend type Query { look: Int }", [query], transaction="none")
    assert jobs.execute("{ look }")["errors"][0]["message"] == "Internal error"
    assert "Query.look has no transaction" in caplog.text


def test_deeper_resolvers_have_no_transaction():
    jobs = gnj.GNJ("memory://")
    query, thing = QueryType(), ObjectType("Thing")
    query.set_field("thing", lambda _, info: {"count": info.context["tx"].count()})
    thing.set_field("late", lambda _, info: info.context["tx"].count())
    jobs.extend("type Thing { count: Int late: Int } extend type Query { thing: Thing }", [query, thing])
    body = jobs.execute("{ thing { count late } }")
    assert body["data"] == {"thing": {"count": 0, "late": None}}
    assert body["errors"][0]["path"] == ["thing", "late"]


def test_a_function_may_use_types_of_sdl_and_sdl_those_of_functions():
    from dataclasses import dataclass

    @dataclass
    class Pair:
        left: int

    jobs = gnj.GNJ("memory://")
    query = QueryType()
    query.set_field("swap", lambda *_, pair: Pair(-pair["left"]))

    @jobs.query
    def same(pair: Pair) -> Pair:
        return pair

    jobs.extend("extend type Query { swap(pair: PairInput!): Pair }", [query])
    assert jobs.execute("{ swap(pair: {left: 1}) { left } same(pair: {left: 2}) { left } }")["data"] == {
        "swap": {"left": -1},
        "same": {"left": 2},
    }


def test_two_in_one_process_do_not_know_each_other():
    first, second = by_function("memory://"), gnj.GNJ("memory://")
    assert "customAcquire" in first.schema.mutation_type.fields
    assert "customAcquire" not in second.schema.mutation_type.fields


def test_the_host_keeps_its_context_variables():
    word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="")
    jobs = gnj.GNJ("memory://")

    @jobs.query
    def said() -> str:
        return word.get()

    async def main():
        word.set("hello")
        async with client(jobs) as http:
            return (await http.post("/jobs/graphql", json={"query": "{ said }"})).json()

    assert asyncio.run(main()) == {"data": {"said": "hello"}}
