"""How many calls may be under way, and whose."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from gnj.push import calls
from gnj.push.calls import Calls, Share


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(calls, "MOST", 16)


def claims(*ids: int) -> list[Any]:
    return [SimpleNamespace(id=id, attempt=1) for id in ids]


def claim(share: Share, limit: int, first: int) -> list[Any]:
    made = claims(*range(first, first + share.ask(limit)))
    share.claimed(made)
    return made


def test_a_tenant_gets_as_many_as_it_leaves_free():
    all_of_them = Calls()
    assert all_of_them.take("a", "q", 100, 100, 0) == (8, True)
    assert all_of_them.take("a", "r", 100, 100, 0) == (0, True)
    assert all_of_them.take("b", "q", 100, 100, 0) == (4, True)
    assert all_of_them.take("c", "q", 100, 100, 0) == (2, True)
    assert all_of_them.take("d", "q", 100, 100, 0) == (1, True)
    assert all_of_them.take("e", "q", 100, 100, 0) == (1, True)
    assert all_of_them.take("f", "q", 100, 100, 0) == (0, True)
    all_of_them.give("a", "q", 8)
    assert all_of_them.take("f", "q", 1, 100, 0) == (1, True)
    assert all_of_them.take("f", "q", 100, 3, 1) == (2, True)


def test_what_is_claimed_ahead_takes_no_more():
    share = Share(all_of_them := Calls(), "a", "q", 2)
    assert len(claim(share, 50, 1)) == 50
    assert len(claim(share, 50, 101)) == 50
    assert (all_of_them._under_way, share.is_short) == (2, False)
    share.ended(claims(*range(1, 51)))
    assert all_of_them._under_way == 2
    share.ended(claims(*range(102, 151)))
    share.ended(claims(150, 3))  # again
    assert all_of_them._under_way == 1
    share.ended(claims(101))
    assert all_of_them._under_way == 0


def test_ends_while_jobs_are_being_claimed():
    share = Share(all_of_them := Calls(), "a", "q", 4)
    claim(share, 3, 1)
    assert share.ask(1) == 1
    share.ended(claims(1, 2, 3))
    assert all_of_them._under_way == 1
    share.claimed([])
    assert all_of_them._under_way == 0


def test_where_there_are_fewer_than_were_asked_for_none_is_claimed_ahead():
    share = Share(Calls(), "a", "q", 10)
    assert share.ask(50) == 8
    assert share.is_short
    share.claimed(claims(1))
    assert share.ask(5) == 5
    assert not share.is_short


def test_two_versions_have_together_what_one_has():
    all_of_them = Calls()
    old, new = (Share(all_of_them, "a", "q", 3) for _ in range(2))
    claim(old, 2, 1)
    assert len(claim(new, 50, 11)) == 1
    assert (claim(new, 50, 21), new.is_short) == ([], True)
    old.ended(claims(1))
    assert len(claim(new, 50, 21)) == 1
    old.close()
    assert len(claim(new, 50, 31)) == 50
    assert (all_of_them._under_way, new.is_short) == (3, False)
    assert old.ask(5) == 0
    old.ended(claims(2))
    new.close()
    new.claimed(claims(99))
    assert (all_of_them._under_way, all_of_them._of_tenants, all_of_them._of_queues) == (0, {}, {})


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_nor_counted_twice(seed):
    draw, all_of_them, number = random.Random(seed), Calls(), 0
    shares = [Share(all_of_them, tenant, queue, most) for tenant in "ab" for queue in "qr" for most in (1, 5)]
    held: list[list[Any]] = [[] for _ in shares]
    for _ in range(2_000):
        place = draw.randrange(len(shares))
        if draw.random() < 0.6:
            asked = shares[place].ask(draw.randint(1, 20))
            got = claims(*range(number, number + draw.randint(0, asked)))
            number += len(got)
            held[place] += got
            if asked:
                shares[place].claimed(got)
        else:
            ended = draw.sample(held[place], draw.randint(0, len(held[place])))
            held[place] = [each for each in held[place] if each not in ended]
            shares[place].ended(ended)
        needed = sum(min(len(each), share._concurrency) for each, share in zip(held, shares, strict=True))
        assert all_of_them._under_way == needed <= calls.MOST
    for share in shares:
        share.close()
    assert all_of_them._under_way == 0
