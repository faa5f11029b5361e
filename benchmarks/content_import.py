"""How fast entries are imported and exported, from the file to what readers see, and what it takes of memory.

    python -m benchmarks.content_import [URL] [--entries 100000] [--body 400] [--array] [--workers 1]

An application with its embedded worker imports a file of that many entries into an organisation of its own, and exports it again, in
the database of the URL (a file in a temporary directory unless given). The progress that clients see is printed as it comes.
Meanwhile another thread enqueues, claims and ends a small job again and again: how long it has to wait for its claim.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import options
from gnj import GNJ
from gnj.queue.model_content import ContentJob, ContentType

KEY = "uploads/1/entries.json"


def main() -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--body", type=int, default=400, help="characters of each entry's body")
    parser.add_argument("--array", action="store_true", help="one JSON array, not JSON Lines")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quiet", action="store_true", help="without the small jobs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = given.url or f"sqlite:///{directory}/content.sqlite"
        with GNJ(url, files=f"{directory}/files", content_workers=given.workers) as jobs:
            jobs.migrate()
            jobs.routes(["content"])
            jobs.start()
            run(jobs, given)


def run(jobs: GNJ, given: argparse.Namespace) -> None:
    """Imports and exports, and says how long each took."""
    tenant = f"bench-{secrets.token_hex(4)}"
    sink = jobs.content.files.create(tenant, KEY)
    for piece in file(given.entries, given.body, array=given.array):
        sink.write(piece)
    size = sink.finish().size
    before = resident()
    print(f"{given.entries:,} entries, {size / 2**20:,.1f} MiB, {before[0]} MiB resident at first")
    stop = threading.Event()
    waits: list[float] = []
    other = threading.Thread(target=claim_again_and_again, args=(jobs, stop, waits))
    if not given.quiet:
        other.start()
    imported = told(jobs, tenant, ContentType.IMPORT_ENTRIES, KEY)
    stop.set()
    if not given.quiet:
        other.join()
        waits.sort()
        print(
            f"claims meanwhile: {len(waits)}, median {statistics.median(waits) * 1e3:.1f} ms, "
            f"p99 {waits[int(len(waits) * 0.99) - 1] * 1e3:.0f} ms, longest {waits[-1] * 1e3:.0f} ms"
        )
    exported = told(jobs, tenant, ContentType.EXPORT_ENTRIES, None)
    print(f"import {given.entries / imported:,.0f} entries/s, export {given.entries / exported:,.0f} entries/s")
    print(f"{resident()[1]} MiB resident at most")


def told(jobs: GNJ, tenant: str, type: ContentType, key: str | None) -> float:
    """Seconds of the first task of such a content job, from its start to its end; those of all tasks are printed."""
    row = jobs.queue.create_content_job(
        tenant, name="Benchmark", type=type, params={}, by={"id": "benchmark"}, file_key=key
    )
    shown = ""
    while not jobs.queue.content_over(tenant, row.id):
        time.sleep(0.25)
        tasks = jobs.queue.content_tasks(tenant, [row.id])[row.id]
        now = ", ".join(f"{task.type.rpartition('.')[2]} {percent(task.progress)}" for task in tasks)
        if now != shown:
            print(f"  {now}", flush=True)
            shown = now
    found = jobs.queue.content_job(tenant, row.id)
    assert isinstance(found, ContentJob)
    print(f"{type}: {found.status}, {found.result}")
    tasks = jobs.queue.content_tasks(tenant, [row.id])[row.id]
    seconds = [(task.ended_at - task.started_at).total_seconds() for task in tasks if task.ended_at and task.started_at]
    print("  " + ", ".join(f"{task.type} {each:.1f} s" for task, each in zip(tasks, seconds, strict=False)))
    return seconds[0]


def percent(progress: Any) -> str:
    """As clients see it."""
    value = progress.get("percent") if isinstance(progress, dict) else None
    return "-" if value is None else f"{value:.0f} %"


def claim_again_and_again(jobs: GNJ, stop: threading.Event, waits: list[float]) -> None:
    """Enqueues, claims and ends a job, until told to stop; how long each claim took."""
    while not stop.is_set():
        jobs.enqueue("benchmark")
        begun = time.perf_counter()
        claimed = jobs.queue.acquire(["benchmark"])
        waits.append(time.perf_counter() - begun)
        if claimed is not None:
            jobs.queue.succeed(claimed)
        time.sleep(0.02)


def file(count: int, body: int, *, array: bool) -> Iterator[bytes]:
    """The file, piece by piece."""
    text = ("Lorem ipsum dolor sit amet. " * (body // 28 + 1))[:body]
    for first in range(0, count, 1_000):
        numbers = range(first, min(first + 1_000, count))
        lines = [json.dumps(entry(number, text)) for number in numbers]
        if array:
            opening, closing = "[" if first == 0 else ",\n", "]" if first + 1_000 >= count else ""
            yield (opening + ",\n".join(lines) + closing).encode()
        else:
            yield "".join(f"{line}\n" for line in lines).encode()


def entry(number: int, text: str) -> dict[str, Any]:
    """One of many."""
    return {
        "id": f"entry-{number:08}",
        "system": {
            "siteId": f"site-{number % 10}",
            "modelId": "article",
            "status": "PUBLISHED",
            "slug": f"entry-{number}",
            "labels": [f"tag-{number % 50}", "all"],
            "createdAt": "2024-01-31T12:00:00Z",
        },
        "content": {"title": f"Entry {number}", "body": text, "rank": number / 7},
        "attrs": {},
    }


def resident() -> tuple[int, int]:
    """MiB of memory that this process has in use, and has had at most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return tuple(int(lines[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


if __name__ == "__main__":
    main()
