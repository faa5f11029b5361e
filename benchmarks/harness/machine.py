"""What was measured, where and when, and how the machine was just then: figures can be told apart by it."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_WRITES = 200
_BLOCK = 8192
_ROOT = Path(__file__).resolve().parents[2]


def state(folder: Path | None = None) -> dict[str, Any]:
    """A commit's fdatasync, a Python loop, the load: less than half a second."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        os.write(file.fileno(), b"x" * _BLOCK * _WRITES)
        os.fsync(file.fileno())
        times = []
        for number in range(_WRITES):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), b"y" * _BLOCK, number * _BLOCK)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    sum(number * number for number in range(2_000_000))
    return {
        "fdatasync_us": round(statistics.median(times) * 1e6),
        "spin_ms": round((time.perf_counter() - begun) * 1000),
        "load": round(os.getloadavg()[0], 2),
    }


def description() -> dict[str, Any]:
    """What does not change during a run."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def commit() -> str | None:
    """What is checked out, with a `+` where files differ from it; None where git does not tell."""
    try:
        head, changed = (
            subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def processor() -> str | None:
    """The model, as Linux names it; elsewhere what Python knows of it, or None."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or None
