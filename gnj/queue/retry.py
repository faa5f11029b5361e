"""How long a job waits between its tries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from gnj.queue.errors import InvalidInput
from gnj.queue.values import Json, check_seconds, shown

MAX_DELAY = 3600.0
"""Where no maximum is given, no wait is longer than an hour (P9)."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before the next try: `delay` seconds shaped by `type`, spread by `jitter`, never above `maximum`.

    Args:
        delay: Seconds before the second try.
        maximum: The longest wait in seconds; an hour unless given.
        jitter: 0 to 1: the wait is drawn evenly from `(1 - jitter) * wait` to `wait`.
    """

    delay: float = 0.0
    maximum: float | None = None
    jitter: float = 0.0

    type: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        check_seconds(self.delay, "backoff delay")
        if self.maximum is not None:
            check_seconds(self.maximum, "backoff maximum")
        jitter: object = self.jitter
        if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter <= 1:
            raise InvalidInput(f"backoff jitter must be a number from 0 to 1, not {shown(jitter)}")

    def shape(self, failures: int) -> float:
        """Seconds to wait after the `failures`th failed try (1 or more), before the cap and the jitter."""
        return self.delay

    def wait(self, failures: int, random: Callable[[], float]) -> float:
        """Seconds to wait after the `failures`th failed try; `random` gives a number from 0 to 1."""
        limit = MAX_DELAY if self.maximum is None else self.maximum
        longest = min(self.shape(failures), limit)
        return longest * (1 - self.jitter * random())

    def to_wire(self) -> dict[str, Json]:
        """`{"type", "delay", "maxDelay", "jitter"}`, in milliseconds (section 0, point 10)."""
        wire: dict[str, Json] = {"type": self.type, "delay": round(self.delay * 1000)}
        if self.maximum is not None:
            wire["maxDelay"] = round(self.maximum * 1000)
        if self.jitter:
            wire["jitter"] = self.jitter
        return wire


class Fixed(Backoff):
    """Always the same wait."""

    __slots__ = ()


class Linear(Backoff):
    """`delay`, twice `delay`, three times it, and so on."""

    __slots__ = ()
    type = "linear"

    def shape(self, failures: int) -> float:
        """Seconds to wait: `delay` for every failed try."""
        return self.delay * failures


class Exponential(Backoff):
    """`delay`, twice that, four times, eight times, and so on."""

    __slots__ = ()
    type = "exponential"

    def shape(self, failures: int) -> float:
        """Seconds to wait: `delay`, doubled for every failed try after the first."""
        # 2**63 seconds are beyond every cap; without the bound a job with many failures overflows the float
        return self.delay * 2.0 ** min(failures - 1, 62)


TYPES: Mapping[str, type[Backoff]] = {shape.type: shape for shape in (Fixed, Linear, Exponential)}
_KEYS = frozenset({"type", "delay", "maxDelay", "jitter"})


def from_wire(value: object) -> Backoff:
    """The `Backoff` that `{"type": "fixed|linear|exponential", "delay": ms, "maxDelay": ms, "jitter": 0..1}` means.

    Raises `InvalidInput` naming the key that is wrong.
    """
    if not isinstance(value, Mapping):
        raise InvalidInput(f'backoff must be an object like {{"type": "fixed", "delay": 1000}}, not {shown(value)}')
    if unknown := sorted(str(key) for key in value if key not in _KEYS):
        raise InvalidInput(f"backoff does not know {', '.join(unknown)[:200]}; it takes type, delay, maxDelay, jitter")
    shape = value.get("type", "fixed")
    if not isinstance(shape, str) or shape not in TYPES:
        raise InvalidInput(f"backoff type must be one of {', '.join(TYPES)}, not {shown(shape)}")
    maximum, jitter = value.get("maxDelay"), value.get("jitter")
    return TYPES[shape](
        _ms(value.get("delay", 0), "backoff delay"),
        None if maximum is None else _ms(maximum, "backoff maxDelay"),
        0.0 if jitter is None else jitter,
    )


def _ms(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 10**12:
        raise InvalidInput(f"{what} must be a number of milliseconds, not {shown(value)}")
    return value / 1000
