import asyncio
import functools
import sys
from datetime import timedelta

import pytest

from gnj.queue.errors import InvalidInput
from gnj.queue.policy import Policy
from gnj.queue.retry import Exponential


def plain(job):
    return job


def full(job, ctx):
    return ctx


async def plain_async(job):
    return job


async def full_async(job, ctx):
    return ctx


class Callable:
    def __call__(self, job, ctx):
        return ctx


class AsyncCallable:
    async def __call__(self, job):
        return job


class Service:
    def method(self, job):
        return job


@functools.wraps(full)
def wrapped(*args, **kwargs):
    return full(*args, **kwargs)


@pytest.mark.parametrize(
    "fn, takes_context, is_async",
    [
        (plain, False, False),
        (full, True, False),
        (plain_async, False, True),
        (full_async, True, True),
        (Callable(), True, False),
        (AsyncCallable(), False, True),
        (Service().method, False, False),
        (functools.partial(full, ctx=1), False, False),
        (functools.partial(full_async), True, True),
        (wrapped, True, False),
        (lambda job, size=3: size, False, False),
        (lambda job, ctx=None: ctx, True, False),
        (lambda job, /, context: context, True, False),
        (lambda job, *, loud=False: loud, False, False),
        (lambda job, **rest: rest, False, False),
    ],
)
def test_the_signature_decides_how_it_is_called(handlers, fn, takes_context, is_async):
    handlers.register("x", fn)
    handler = handlers.get("x")
    assert (handler.fn, handler.takes_context, handler.is_async) == (fn, takes_context, is_async)


def no_arguments():
    pass


def three(job, ctx, more):
    pass


def keyword(job, *, size):
    pass


def star(*args):
    pass


def generator(job):
    yield job


async def async_generator(job):
    yield job


@pytest.mark.parametrize(
    "fn, says",
    [
        (no_arguments, r"no_arguments takes \(\): a handler takes \(job\) or \(job, ctx\)"),
        (three, r"three takes \(job, ctx, more\)"),
        (keyword, "keyword needs the keyword size"),
        (star, r"star takes \*args, which does not tell"),
        (generator, "generator is a generator"),
        (async_generator, "async_generator is a generator"),
        (7, "must be a function, not 7"),
        (dict, "dict: what it takes cannot be told"),
    ],
)
def test_a_wrong_signature_is_refused_by_the_name_of_the_function(handlers, fn, says):
    with pytest.raises(InvalidInput, match=says):
        handlers.register("x", fn)
    assert handlers.types == ()
    assert handlers.policies == {}


def test_a_type_has_one_handler(handlers):
    handlers.register("x", plain)
    with pytest.raises(InvalidInput, match=r"'x' have a handler already: .*plain$"):
        handlers.register("x", full)
    assert handlers.get("x").fn is plain


def test_the_decorator_leaves_the_function_as_it_is(handlers):
    assert handlers.handler("x")(plain) is plain
    assert handlers.types == ("x",)


def test_policies_are_live(handlers):
    policies = handlers.policies
    backoff = Exponential(1.0, maximum=60, jitter=0.2)
    handlers.register("x", plain, max_attempts=5, backoff=backoff, timeout=timedelta(minutes=1), on_lost="requeue")
    handlers.register("y", plain_async)
    assert policies == {
        "x": Policy(max_attempts=5, backoff=backoff, timeout=60.0, on_lost="requeue"),
        "y": Policy(),
    }
    with pytest.raises(TypeError):
        policies["z"] = Policy()


@pytest.mark.parametrize(
    "policy, says",
    [
        ({"max_attempts": 0}, "job.max_attempts must be from 1"),
        ({"max_attempts": "3"}, "job.max_attempts must be an integer"),
        ({"backoff": 3}, "backoff must be an object"),
        ({"timeout": -1}, "job.timeout must be from"),
        ({"on_lost": "forget"}, "job.on_lost must be one of requeue, fail, hold"),
    ],
)
def test_a_policy_no_job_may_have_is_refused(handlers, policy, says):
    with pytest.raises(InvalidInput, match=says):
        handlers.register("x", plain, **policy)


@pytest.mark.parametrize("type", ["", None, 3, "a\0b", "x" * 201])
def test_a_type_no_job_may_have_is_refused(handlers, type):
    with pytest.raises(InvalidInput):
        handlers.register(type, plain)


def test_unknown_types_import_nothing(handlers):
    before = set(sys.modules)
    assert handlers.get("json.tool") is None
    assert handlers.get("this") is None
    assert set(sys.modules) == before


def test_the_policy_reaches_the_job_when_it_is_claimed(handlers, queue, add, now):
    handlers.register("work", plain, max_attempts=5, backoff=Exponential(1.0), timeout=60, on_lost="fail")
    own = add(max_attempts=2, on_lost="hold")
    theirs = add()
    queue.acquire(["work"], 2)
    claimed = now(theirs)
    assert (claimed.max_attempts, claimed.timeout, claimed.on_lost) == (5, 60.0, "fail")
    assert claimed.backoff == Exponential(1.0).to_wire()
    assert (now(own).max_attempts, now(own).timeout, now(own).on_lost) == (2, 60.0, "hold")


def test_fixtures_are_what_they_seem():
    assert asyncio.run(full_async(1, 2)) == 2
    assert wrapped(1, 2) == full(1, 2)


def test_a_handler_without_a_type_is_refused(handlers):
    with pytest.raises(InvalidInput, match="names the type of its jobs"):
        handlers.handler(plain)
    assert not handlers.types
