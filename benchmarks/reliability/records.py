"""What the traces of a run say, by job."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability import trace
from benchmarks.reliability.trace import Claim, Line


@dataclass(slots=True)
class Held:
    """One claim, as the worker that got it saw it."""

    attempt: int
    worker: str
    since: int
    """When its answer was there."""
    until: int
    """It held the job at least until then, by its lease, unless it ended it before."""
    telling: int | None = None
    """When its end, or that it is given back, was first told."""
    told: bool = False
    """The end was stored, said the queue."""


class Records:
    """All traces of a folder.

    Args:
        folder: Where they are.
        lease: Seconds of each claim.
    """

    def __init__(self, folder: Path, lease: float) -> None:
        self._lease = round(lease * 1e9)
        self.claims: dict[int, list[Held]] = defaultdict(list)
        """By job; in the order of their attempts."""
        self.releases: dict[int, int] = defaultdict(int)
        """How often each job may have been given back."""
        self.by_worker: dict[str, list[tuple[int, Held]]] = {}
        """The claims of each worker, with their jobs, as they came."""
        self.refused = 0
        """Ends that came too late and were refused."""
        self.renewed = 0
        for path in sorted(folder.glob("*.trace")):
            self._read(path)
        for held in self.claims.values():
            held.sort(key=lambda each: each.attempt)

    def _read(self, path: Path) -> None:
        worker = path.stem
        own: dict[Claim, Held] = {}
        order = self.by_worker.setdefault(worker, [])
        for line in trace.read(path):
            if line.kind == trace.CLAIMED:
                for id, attempt in line.claims:
                    # the lease counts from some moment after it was asked for
                    held = own[id, attempt] = Held(attempt, worker, line.until, line.since + self._lease)
                    self.claims[id].append(held)
                    order.append((id, held))
            else:
                self._note(line, own)

    def _note(self, line: Line, own: dict[Claim, Held]) -> None:
        for claim in line.claims:
            held = own[claim]
            if line.kind == trace.RENEWED:
                held.until = max(held.until, line.since + self._lease)
                self.renewed += 1
            elif line.kind == trace.TOLD:
                held.told = True
            elif line.kind == trace.REFUSED:
                self.refused += 1
            elif line.kind in (trace.TELLING, trace.RELEASING):
                held.telling = line.since if held.telling is None else held.telling
                self.releases[claim[0]] += line.kind == trace.RELEASING
