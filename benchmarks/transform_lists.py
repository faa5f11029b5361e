"""What the lists of transformation jobs take: time, statements and memory.

    python -m benchmarks.transform_lists [URL] [--jobs 1000] [--mappings 60] [--bytes 250000]

Makes that many jobs, each with parts of its own, and beside them, of another tenant, that many mappings of so many bytes, in the
database of the URL (a file in a temporary directory unless given). Each operation is asked of a WSGI application in a process of
its own: what is told of its memory is by how much the operation made it grow at most.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import time
from typing import Any, Final
from wsgiref.util import setup_testing_defaults

from sqlalchemy import event

from benchmarks.content_import import resident
from benchmarks.harness import options
from gnj import GNJ, Principal
from gnj.queue.model import Schedule
from gnj.queue.model_transform import TransformFormat, TransformJob, TransformMapping, TransformSource
from gnj.queue.values import dump_json
from gnj.settings_transform import TransformLimits
from gnj.transform.keeping import size_of

FEW, LARGE = "few", "large"
"""The tenants: of jobs, and of large mappings."""
OPERATIONS: Final = {
    "mappings, ids": (LARGE, "{ getMappings { id name } }"),
    "mappings, rules": (LARGE, "{ getMappings { id mapping } }"),
    "jobs, ids": (FEW, "{ getJobs { id status nextRun } }"),
    "jobs, names of parts": (FEW, "{ getJobs { id source { name type } mapping { name } targetFormat { name } } }"),
    "jobs, whole parts": (
        FEW,
        "{ getJobs { id source { sourceHeaders } mapping { mapping } targetFormat { targetFormat } } }",
    ),
    "jobs, jobs of parts": (
        FEW,
        "{ getJobs { id source { jobs { id } } mapping { jobs { id } } targetFormat { jobs { id } } } }",
    ),
}
RULES: Final = [{"sourceField": f"field {n}", "targetField": f"name{n}", "transform": "trim()"} for n in range(20)]
FORMAT: Final = {f"name{n}": {"type": "string", "attributes": ["required"]} for n in range(20)}
PATH: Final = "/transform/graphql"


def main() -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--mappings", type=int, default=60)
    parser.add_argument("--bytes", type=int, default=250_000, help="of each mapping")
    parser.add_argument("--ask", choices=OPERATIONS, help="one operation, in this process")
    given = parser.parse_args()
    if given.ask:
        print(asked(given.url, *OPERATIONS[given.ask]))
        return
    with tempfile.TemporaryDirectory() as directory:
        url = given.url or f"sqlite:///{directory}/lists.sqlite"
        with GNJ(url) as jobs:
            jobs.migrate()
            fill(jobs, given.jobs, given.mappings, given.bytes)
        print(f"{given.jobs:,} jobs with parts of their own; {given.mappings:,} mappings of {given.bytes:,} bytes")
        for name in OPERATIONS:
            subprocess.run([sys.executable, "-m", "benchmarks.transform_lists", url, "--ask", name], check=True)


def fill(jobs: GNJ, count: int, mappings: int, size: int) -> None:
    """What is listed."""
    texts = [f"{number:05}" for number in range(1_000)]  # short ones take most memory for their bytes
    rule = {"sourceField": "a", "targetField": "b", "choices": {"c": texts}}
    rules_of_size = [rule] * (size // len(dump_json(rule)))

    def with_size(values: dict[str, Any], tenant: str) -> dict[str, Any]:
        return {**values, "size": size_of(values), "tenant": tenant}

    with jobs.queue.storage.begin() as tx:
        for number in range(mappings):
            tx.insert(TransformMapping, [with_size({"name": f"m{number}", "mapping": rules_of_size}, LARGE)])
        now, each = tx.now(), range(count)
        source = {"type": "Feed", "name": "s", "url": "https://shop.example/feed", "headers": ["A: b"]}
        sources = tx.insert(TransformSource, [with_size(source, FEW) for _ in each])
        rules = tx.insert(TransformMapping, [with_size({"name": "m", "mapping": RULES}, FEW) for _ in each])
        format = {"name": "f", "definition": FORMAT, "fields": list(FORMAT)}
        formats = tx.insert(TransformFormat, [with_size(format, FEW) for _ in each])
        schedules = []
        for number in each:
            row = {"tenant": FEW, "name": f"t{number}", "every_ms": 86_400_000, "since": now, "next_at": now}
            schedules += tx.insert(Schedule, [{**row, "job": {"type": "gnj:transform"}}])
        made = zip(sources, rules, formats, schedules, strict=True)
        ids = ({"source_id": s.id, "mapping_id": m.id, "format_id": f.id, "schedule_id": t.id} for s, m, f, t in made)
        tx.insert(TransformJob, [{"tenant": FEW, **row} for row in ids])


def asked(url: str, tenant: str, text: str) -> str:
    """What an operation took."""
    statements: list[str] = []
    with GNJ(
        url,
        authenticate=lambda _request: Principal("reader", tenant, {"read"}),
        transform_limits=TransformLimits(bytes=2**30),
        transform_workers=0,
    ) as jobs:
        app = jobs.wsgi_app(["transform"])
        posted(app, "{ getJob(id: 0) { id source { id } } }")  # what is made once
        event.listen(jobs.storage.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        before, begun = resident()[0], time.perf_counter()
        status, length, beginning = posted(app, text)
        seconds, after = time.perf_counter() - begun, resident()[1]
    about = [each for each in statements if "transform_" in each or "schedule" in each]
    told = "" if '"errors"' not in beginning else beginning[:300]
    return (
        f"{text[2:-2]}\n  {status}, {length / 2**20:.1f} MiB in {seconds:.2f} s, {len(about)} statements, "
        f"{after - before:,} MiB more {told}"
    )


def posted(app: Any, text: str) -> tuple[str, int, str]:
    """The status of an answer, its bytes, and how it begins."""
    body = json.dumps({"query": text}).encode()
    environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": PATH, "CONTENT_TYPE": "application/json"}
    setup_testing_defaults(environ)
    environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), "REMOTE_ADDR": "127.0.0.1"}
    statuses: list[str] = []
    length, beginning = 0, b""
    for piece in app(environ, lambda status, _headers, *_: statuses.append(status)):
        beginning, length = beginning or piece[:1_000], length + len(piece)
    return statuses[0], length, beginning.decode(errors="replace")


if __name__ == "__main__":
    main()
