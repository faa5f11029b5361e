"""Samples, as they come in and as they are saved: one JSON object a line."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Args:
        row: The key of the table's row.
        contender: Who was measured.
        value: The figure, in the row's unit; None where it failed.
        rep: Which repetition.
        notes: What else is known of it; `failed`, of one that failed.
    """

    row: str
    contender: str
    value: float | None
    rep: int = 0
    notes: dict[str, Any] = field(default_factory=dict)


class Results:
    """The samples of a run, and what is known of the machine and the contenders."""

    def __init__(self, samples: Iterable[Sample] = (), facts: Iterable[dict[str, Any]] = ()) -> None:
        self.samples = list(samples)
        self.facts = list(facts)

    def values(self, row: str, contender: str) -> list[float]:
        """The figures of one cell."""
        return [s.value for s in self.samples if (s.row, s.contender) == (row, contender) and s.value is not None]

    def median(self, row: str, contender: str) -> float | None:
        """The figure that stands in the table; None where nothing was measured."""
        values = self.values(row, contender)
        return statistics.median(values) if values else None

    def failures(self, row: str) -> list[Sample]:
        """What failed."""
        return [sample for sample in self.samples if sample.row == row and sample.value is None]

    @property
    def small(self) -> bool:
        """Whether the sizes were such that the figures mean nothing."""
        return any(fact["fact"] == "small" for fact in self.facts)

    @property
    def origin(self) -> str:
        """When, at which commits and on which machine it was measured, in a sentence; "" where that was not saved."""
        machines = [fact for fact in self.facts if fact["fact"] == "machine" and fact.get("date")]
        if not machines:
            return ""
        known = machines[0]
        commits = dict.fromkeys(fact["commit"] for fact in machines if fact.get("commit"))
        commit = f", at commit {' and '.join(commits)}" if commits else ""
        processor = f" of {known['processor']}" if known.get("processor") else ""
        return (
            f"Measured on {known['date']}{commit}, with Python {known['python']} on {known['system']}, "
            f"{known['cores']} cores{processor}."
        )

    def lines(self) -> list[str]:
        """What is saved."""
        return [json.dumps(fact) for fact in self.facts] + [json.dumps(asdict(sample)) for sample in self.samples]


class Recorder(Results):
    """Results that are told of and saved as they come: an interrupted run keeps what it has."""

    def __init__(self, file: Path | None = None, out: TextIO | None = None) -> None:
        super().__init__()
        self._file = None if file is None else file.open("w", encoding="utf-8")
        self._out = sys.stderr if out is None else out

    def add(self, sample: Sample, unit: str = "") -> None:
        """Keeps a sample, and prints a line of progress."""
        self.samples.append(sample)
        self._save(asdict(sample))
        told = f"failed: {sample.notes.get('failed')}" if sample.value is None else f"{number(sample.value)} {unit}"
        notes = ", ".join(f"{name} {value}" for name, value in sample.notes.items() if name != "failed")
        self.say(f"{sample.rep + 1}  {sample.row:28} {sample.contender:16} {told}{f'  ({notes})' if notes else ''}")

    def fact(self, kind: str, **known: Any) -> None:
        """Keeps what is no measurement."""
        self.facts.append({"fact": kind, **known})
        self._save(self.facts[-1])

    def say(self, text: str) -> None:
        """A line of progress."""
        print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            self._file.close()

    def _save(self, record: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()


def read(path: Path) -> Results:
    """What a run has saved. Raises `OSError`, and `ValueError` for a file of something else, which says where."""
    samples: list[Sample] = []
    facts: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if "fact" in record:
                facts.append(record)
            else:
                samples.append(_sample(record))
        except (TypeError, ValueError) as error:
            raise ValueError(f"line {number} is not what a run saves: {line[:60]!r}") from error
    return Results(samples, facts)


def _sample(record: dict[str, Any]) -> Sample:
    sample = Sample(**record)
    if not isinstance(sample.value, (int, float, type(None))):
        raise TypeError("a figure is a number")
    return sample


def number(value: float) -> str:
    """A figure to three digits, thousands separated."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them is."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
