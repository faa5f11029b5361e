"""How many jobs are claimed ahead, how long ends gather, and whether one thread is enough."""

import pytest

from gnj.queue.service import MAX_CLAIM
from gnj.worker.pace import AGAIN, AHEAD, FORGOTTEN, GATHER, LONG, SELDOM, SHORT, SOON, WORTH, Pace

SLOTS = 8


class Known(Pace):
    """One whose handlers are known to take no time."""

    def __init__(self):
        super().__init__(0.0)
        ended(self, 300, 0.0)

    def ahead(self, now, slots=SLOTS, *, idle=False):
        """`idle`: nothing has ended just now."""
        if not idle:
            ended(self, 1, 0.0, now)
        return super().ahead(now, slots)


def ended(pace, count, took, now=0.0, *, threaded=True):
    for _ in range(count):
        pace.ended(now, took, threaded=threaded)


def at_rate(rate, seconds=1.0):
    pace = Known()
    pace.told(int(rate * seconds))
    pace.ahead(seconds)
    return pace


def test_nothing_is_claimed_ahead_of_few_or_slow_jobs():
    assert Known().ahead(0.0) == 0
    assert Known().ahead(1.0) == 0
    assert at_rate(1 / AHEAD - 1).ahead(1.0) == 0


def test_as_much_is_claimed_ahead_as_is_done_in_a_moment():
    assert at_rate(1_000).ahead(1.0) == 1_000 * AHEAD
    assert at_rate(1_000_000).ahead(1.0) == MAX_CLAIM


def test_a_pause_halves_what_was_learnt():
    pace = at_rate(4_000)
    assert pace.ahead(2.0) == 2_000 * AHEAD
    assert pace.ahead(3.0) == 1_000 * AHEAD


def test_slow_jobs_end_what_was_learnt():
    pace = at_rate(4_000)
    pace.told(100)
    pace.slow()
    assert pace.ahead(1.1) == 0


def test_what_was_told_a_moment_ago_counts_for_the_next_look():
    pace = at_rate(1_000)
    pace.told(1_000)
    assert pace.ahead(1.0001) == 1_000 * AHEAD
    assert pace.ahead(1.1) == pytest.approx(10_000 * AHEAD, rel=0.01)


def test_ends_gather_when_they_have_company():
    assert not Pace(0.0).gathers
    assert not at_rate(WORTH / GATHER - 1).gathers
    assert at_rate(WORTH / GATHER).gathers


def test_handlers_that_take_long_are_not_claimed_ahead_of_however_many_end_together():
    pace = Pace(0.0)
    ended(pace, SLOTS, 0.5)
    pace.told(SLOTS)
    assert pace.ahead(0.006, SLOTS) == 0
    ended(pace, 300, 0.005)
    pace.told(1_000)
    assert pace.ahead(0.1, SLOTS) == pytest.approx(SLOTS / 0.005 * AHEAD, abs=1)


def test_nothing_is_claimed_ahead_of_handlers_that_nobody_knows():
    pace = Pace(0.0)
    pace.told(1_000)
    assert pace.ahead(0.1, SLOTS) == 0


def test_one_thread_is_enough_once_jobs_are_known_to_be_short():
    pace = Pace(0.0)
    seen = [pace.short(0.0)]
    for took in (SHORT / 10, 0.01):
        ended(pace, 300, took)
        seen.append(pace.short(0.0))
    assert seen == [False, True, False]


def test_one_thread_is_tried_again_where_several_wait_for_each_other():
    pace = Known()
    ended(pace, 300, 0.01)
    seen = []
    for tenth in range(1, 12):
        now = tenth * AGAIN / 10
        ended(pace, 1, SHORT / 2, now)
        seen.append(pace.short(now))
    now = 1.1 * AGAIN
    ended(pace, 7, 0.005, now + 0.001)  # they began beside the others
    assert seen == [False] * 9 + [True] * 2
    assert pace.short(now)


def test_what_does_not_last_is_tried_more_and_more_seldom():
    pace, now, waits = Known(), 0.0, []
    for _ in range(8):
        begun = now
        for wanted in (True, False):
            while pace.short(now) == wanted:
                for took in (0.003, SHORT / 2):
                    ended(pace, 1, took, now := now + took)
        waits.append(now - begun)
    assert waits[:5] == pytest.approx([AGAIN * 2**n for n in range(5)], abs=0.2)
    assert waits[-1] == pytest.approx(SELDOM, abs=0.2)
    for _ in range(200):
        ended(pace, 1, SHORT / 2, now := now + 0.01)
    ended(pace, 300, 0.003, now)
    for _ in range(10):
        assert not pace.short(now)
        ended(pace, 1, SHORT / 2, now := now + AGAIN / 9.9)
    assert pace.short(now)


@pytest.mark.parametrize("took", [SHORT / 2, LONG])
def test_help_that_was_not_needed_is_soon_taken_away(took):
    pace = Known()
    assert [pace.stuck(), pace.stuck()] == [False, True]
    ended(pace, 1, took, SOON / 2)
    ended(pace, 1, SHORT / 2, SOON)
    assert pace.short(SOON) == (took < LONG)


def test_what_was_so_a_while_ago_is_not_known():
    pace = Known()
    assert pace.short(FORGOTTEN / 2)
    assert not pace.short(FORGOTTEN)
    pace.told(1_000)
    assert pace.ahead(FORGOTTEN / 2, idle=True) > 0
    assert pace.ahead(FORGOTTEN, idle=True) == 0


def test_jobs_on_the_event_loop_say_nothing_of_threads():
    pace = Pace(0.0)
    ended(pace, 1_000, 0.0, threaded=False)
    assert not pace.short(0.0)


def test_a_stuck_thread_is_noticed():
    pace = Known()
    seen = [pace.stuck()]
    ended(pace, 1, 0.0)
    seen += [pace.stuck(), pace.short(0.0), pace.stuck(), pace.short(0.0)]
    assert seen == [False, False, True, True, False]
