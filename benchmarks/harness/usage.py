"""What processes use, as Linux tells it. A worker and all it started is one process group."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def members(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ProcessLookupError, ValueError):
            if os.getpgid(int(entry.name)) == group:
                found.append(int(entry.name))
    return found


def resident(group: int) -> float:
    """MB of memory."""
    total = 0
    for pid in members(group):
        with suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return total * _PAGE / 1e6


def cpu_seconds(group: int) -> float:
    """Processor time of the threads there are: in nanoseconds, where ticks of 10 ms would see no idling worker."""
    total = 0
    for pid in members(group):
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1e9
