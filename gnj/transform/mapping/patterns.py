"""Regular expressions of users: compiled within bounds, and matched within a time.

The library `regex` ends a search at a time limit, but not the compilation of a pattern: `((((a{99}){99}){99}){99})` takes
gigabytes of memory, for repeats are written out. So patterns are bounded by an estimate of what they come to, made without
reading their grammar: it may be too high and never too low.
"""

from __future__ import annotations

import re
import threading
from time import perf_counter
from typing import Any, Final

import regex

from gnj.queue import deadline
from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown
from gnj.transform.errors import RecordRejected

MAX_PATTERN: Final = 500
"""Characters of a pattern."""
MAX_EXPANDED: Final = 10_000
"""Characters of a pattern with its counted repeats written out: 20 ms to compile."""
MATCH_SECONDS: Final = 0.5
"""Time limit of one search."""
RECORD_SECONDS: Final = 5.0
"""Time limit of all searches for one record."""
MAX_WORK: Final = 100_000_000
"""Work on long texts for one record: 2 s, where 1 is a character in 20 ns. What takes longer counts more (`Function.price`)."""
LONG: Final = 10_000
"""From so much work on a text is long; all others together are 50 million for the calls of a mapping, a second."""

_ESCAPED: Final = re.compile(r"\\.", re.DOTALL)
_CALLS: Final = re.compile(r"\(\?(?:R|[-+]?[0-9]|&|P>)")
_VERBOSE: Final = re.compile(r"\(\?[a-zA-Z0-9-]*x")
_COUNT: Final = re.compile(r"(\))?\{([^{}]*)\}")
_DIGITS: Final = re.compile(r"\d+")


class Spent(threading.local):
    """What was spent on the record that this thread works on."""

    seconds = 0.0
    """Of searches."""
    work = 0
    """On long texts."""

    def begin(self) -> None:
        """Another record."""
        self.seconds, self.work = 0.0, 0

    @property
    def is_over(self) -> bool:
        """Whether there was too much work."""
        return self.work > MAX_WORK

    def read(self, work: int) -> None:
        """Counts what reading a long text takes, before it is read.

        Raises `RecordRejected` for what would be too much, `TimedOut` once the request that waits for it has no time left.
        """
        self.work += work
        if self.is_over:
            raise RecordRejected([f"the mapping reads more than {MAX_WORK:,} characters of long texts"])
        if (limit := deadline.current()) is not None:
            limit.check()


class Pattern:
    """A pattern that can be searched for.

    Raises `InvalidInput` for what is no regular expression, or one that might take too long to compile.
    """

    __slots__ = ("_search", "_spent")

    def __init__(self, text: str, spent: Spent) -> None:
        _bounded(text)
        try:
            self._search: Any = regex.compile(text, cache_pattern=False).search
        except regex.error as error:
            raise InvalidInput(f"{shown(text)} is no regular expression: {error}") from None
        except Exception:  # noqa: BLE001 - for some nonsense its parser raises what it meets: ValueError, KeyError, AttributeError
            raise InvalidInput(f"{shown(text)} is no regular expression") from None
        self._spent = spent

    def first(self, text: str) -> str | None:
        """The first match, all of it. Raises `RecordRejected` when the time is over."""
        spent = self._spent
        if spent.seconds > RECORD_SECONDS:
            raise RecordRejected([f"the regular expressions took more than {RECORD_SECONDS:g} s together"])
        begin = perf_counter()
        try:
            # Other threads run meanwhile: a search is a single call, of half a second at worst.
            found = self._search(text, timeout=MATCH_SECONDS, concurrent=True)
        except TimeoutError:
            raise RecordRejected([f"a regular expression took more than {MATCH_SECONDS} s"]) from None
        except MemoryError:
            raise RecordRejected(["a regular expression took more memory than there is"]) from None
        finally:
            spent.seconds += perf_counter() - begin
        return None if found is None else str(found[0])


def _bounded(text: str) -> None:
    if len(text) > MAX_PATTERN:
        raise InvalidInput(f"a regular expression must have at most {MAX_PATTERN} characters, not {len(text)}")
    bare = _ESCAPED.sub("__", text)
    if _CALLS.search(bare):
        # half a gigabyte within the time limit
        raise InvalidInput("a regular expression must not call itself or its groups, as (?R) and (?1) do")
    if _VERBOSE.search(bare):
        # A comment between a group and its count would hide that they belong together.
        raise InvalidInput("a regular expression must not have the flag x")
    size, times = len(text), 1
    for group, inside in _COUNT.findall(bare):
        count = max((int(digits[:9]) for digits in _DIGITS.findall(inside)), default=1)
        if group:
            times *= max(count, 1)
        else:
            size += count
    if size * times > MAX_EXPANDED:
        message = (
            f"a regular expression must have at most {MAX_EXPANDED:,} characters with its counted repeats written out"
        )
        raise InvalidInput(message)
