"""What `gnj demo` shows: a moving bar on a terminal, plain lines elsewhere, and the result."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from rich.box import ROUNDED
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from gnj.cli.demo_client import Progress
from gnj.cli.output import printable

_SLOWEST = 5
_LINE_EVERY = 2.0


def make_console() -> Console:
    """Colours and cursor movements only on a terminal that has them; NO_COLOR is rich's to respect."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    # piped text is not wrapped at the 80 columns that rich takes for granted
    return Console(
        file=sys.stdout, force_terminal=terminal, width=None if terminal else 120, highlight=False, soft_wrap=True
    )


class Display(Protocol):
    """Shows how far the pipeline is, while its block lasts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, progress: Progress) -> None:
        """The present state."""

    def say(self, text: str) -> None:
        """A line that stays."""


def make_display(console: Console) -> Display:
    """The display that suits the console."""
    return BarDisplay(console) if console.is_terminal else LineDisplay(console)


class _Rate:
    """Files per second since the first one was seen done."""

    def __init__(self) -> None:
        self._since: tuple[float, int] | None = None

    def of(self, done: int) -> float:
        now = time.monotonic()
        if self._since is None:
            if done:
                self._since = (now, done)
            return 0.0
        begin, before = self._since
        return (done - before) / (now - begin) if now > begin else 0.0


class BarDisplay:
    """A progress bar."""

    def __init__(self, console: Console) -> None:
        self._rate = _Rate()
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:>5.0f} jobs/s"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("scan", total=None, rate=0.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Moves the bar."""
        step = _step(progress)
        self._bar.update(
            self._task,
            description=step,
            total=progress.planned if progress.scanned else None,
            completed=progress.done,
            rate=self._rate.of(progress.done),
        )

    def say(self, text: str) -> None:
        """Above the bar."""
        self._bar.console.print(text, markup=False)


class LineDisplay:
    """A line now and then, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rate = _Rate()
        self._next = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def show(self, progress: Progress) -> None:
        """Every two seconds, and at the end."""
        rate = self._rate.of(progress.done)
        ended = progress.status not in ("planned", "processing")
        if not ended and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LINE_EVERY
        left = f", {(progress.planned - progress.done) / rate:.0f} s left" if rate and not ended else ""
        speed = f", {rate:.0f} jobs/s{left}" if rate else ""
        self.say(f"{_step(progress)}: {progress.done} of {progress.planned} files{speed}")

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)
        self._console.file.flush()


def _step(progress: Progress) -> str:
    if progress.status == "successful":
        return "done"
    if not progress.scanned:
        return "scan"
    return "summary" if progress.done == progress.planned else "compress"


@dataclass(frozen=True, slots=True)
class Result:
    """A pipeline that ended well.

    Args:
        summary: The output of the summary job.
        members: The jobs of the batch.
        scanned: What the scan left out: how often, by reason.
        wall: Seconds from starting the server to the end of the pipeline.
    """

    summary: Mapping[str, Any]
    members: Sequence[Mapping[str, Any]]
    scanned: Mapping[str, int]
    wall: float

    @property
    def seconds(self) -> float:
        """From the first start of a file's job to the last end, by the clock of the database."""
        if not self.members:
            return 0.0
        first = min(datetime.fromisoformat(member["startedAt"]) for member in self.members)
        last = max(datetime.fromisoformat(member["endedAt"]) for member in self.members)
        return (last - first).total_seconds()

    @property
    def skipped(self) -> Counter[str]:
        """What was left out, by the scan and later."""
        later = Counter(output["skipped"] for output in self._outputs() if "skipped" in output)
        return Counter(self.scanned) + later

    def slowest(self) -> list[Mapping[str, Any]]:
        """The outputs of the files that took longest."""
        done = [output for output in self._outputs() if "skipped" not in output]
        return sorted(done, key=lambda output: -output["seconds"])[:_SLOWEST]

    def _outputs(self) -> Iterable[Mapping[str, Any]]:
        return (member["output"] for member in self.members)


def print_result(console: Console, result: Result) -> None:
    """The table."""
    summary = result.summary
    size_in, size_out = summary["bytesIn"], summary["bytesOut"]
    ratio = f"{size_out / size_in:.1%} of it" if size_in else "nothing to compress"
    speed = f"{len(result.members) / result.seconds:,.0f}" if result.seconds else "-"
    rows = [
        ("Files", f"{summary['files']:,}"),
        ("Bytes in", f"{size_in:,}"),
        ("Bytes out", f"{size_out:,} ({ratio})"),
        ("Lines", f"{summary['lines']:,}"),
        ("Jobs per second", f"{speed} (while there were files to compress: {result.seconds:.1f} s)"),
        ("Wall time", f"{result.wall:.1f} s, with starting the processes"),
    ]
    if result.skipped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(result.skipped.items()))
        rows.append(("Skipped", f"{result.skipped.total():,}: {reasons}"))
    for place, output in enumerate(result.slowest()):
        text = f"{output['seconds']:7.3f} s  {output['bytesIn']:>12,} bytes  {printable(output['path'])}"
        rows.append(("Slowest files" if place == 0 else "", text))
    _print_rows(console, [(Text(label, style="bold"), text) for label, text in rows])


def print_checks(console: Console, checks: Sequence[tuple[bool, str]]) -> None:
    """What was found out, each with whether it is as it must be."""
    marks = {True: Text("ok", style="green"), False: Text("WRONG", style="bold red")}
    _print_rows(console, [(marks[good], text) for good, text in checks])


def _print_rows(console: Console, rows: Sequence[tuple[Text, str]]) -> None:
    if not console.is_terminal:
        width = max(label.cell_len for label, _ in rows)
        for label, text in rows:
            console.print(f"{label.plain:<{width}}  {text}", markup=False)
        return
    table = Table(box=ROUNDED, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for label, text in rows:
        table.add_row(label, Text(text))
    console.print(table)
