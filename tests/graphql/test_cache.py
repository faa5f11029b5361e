from __future__ import annotations

import random
import threading

from gnj.graphql.cache import DocumentCache, weight
from gnj.graphql.limits import Limits
from gnj.graphql.rules import Rules


def test_what_was_put_is_found_under_the_same_text_and_rules_only():
    cache: DocumentCache[str] = DocumentCache(10, 1_000)
    on, off = Rules(), Rules(introspection=False)
    cache.put("{a}", on, "document", 10)
    assert cache.get("{a}", Rules()) == "document"
    assert cache.get("{a}", off) is None
    assert cache.get("{a}", Rules(Limits(depth=3))) is None
    assert cache.get("{b}", on) is None


def test_the_least_recently_used_is_dropped_by_count():
    cache: DocumentCache[int] = DocumentCache(2, 1_000)
    cache.put("a", None, 1, 1)
    cache.put("b", None, 2, 1)
    assert cache.get("a", None) == 1
    cache.put("c", None, 3, 1)
    assert [cache.get(key, None) for key in "abc"] == [1, None, 3]


def test_it_is_bounded_by_size_and_takes_nothing_larger_than_itself():
    cache: DocumentCache[int] = DocumentCache(100, 100)
    cache.put("a", None, 1, 60)
    cache.put("b", None, 2, 60)
    assert (cache.get("a", None), cache.get("b", None), cache.size, len(cache)) == (None, 2, 60, 1)
    cache.put("huge", None, 3, 101)
    assert (cache.get("huge", None), cache.get("b", None)) == (None, 2)


def test_putting_again_replaces():
    cache: DocumentCache[int] = DocumentCache(100, 100)
    cache.put("a", None, 1, 60)
    cache.put("a", None, 2, 70)
    assert (cache.get("a", None), cache.size, len(cache)) == (2, 70, 1)


def test_the_weight_counts_what_the_text_became():
    assert weight("{a}", 5) > 1_000
    assert weight("x" * 100, 0) == 100


def test_many_threads_keep_the_books_right():
    cache: DocumentCache[int] = DocumentCache(20, 400)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(2_000):
                key = chance.randrange(60)
                found = cache.get(str(key), None)
                assert found in (None, key)
                cache.put(str(key), None, key, 1 + key % 30)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    held = sum(1 + key % 30 for key in range(60) if cache.get(str(key), None) is not None)
    assert held == cache.size <= 400
    assert len(cache) <= 20
