"""How fast records go through a transformation job - fetched, mapped, converted -, beside a loop written by hand, and what memory it takes.

    python -m benchmarks.transform [--records 1000000] [--repeat 3] [--forms csv,jsonl]
    python -m benchmarks.transform --database URL [--records 100000]

A process of its own serves a feed of that many records of 20 fields: a block of 10,000 different ones, again and again. Ours reads
it as a run does: `open_source`, `Mapping.apply`, `TargetFormat.convert`. By hand, urllib, `csv.DictReader` or `json.loads` and one
loop do the same; that the first 1,000 records are equal is checked first. Both take turns in one process. The ratios are those of
medians, by the processor time of this process and by the clock; the machine's other work is in the latter.

With a database - `sqlite` for a file in a temporary directory - whole runs are timed instead: a job is saved, its first run writes
all records, a second one supersedes them where they have keys. The tables are those of a database that may be emptied.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import json
import multiprocessing
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import urlopen

from benchmarks.harness import options
from gnj import GNJ
from gnj.queue.model_transform import RUN, TransformJob
from gnj.transform.formats import compile_format
from gnj.transform.mapping import compile_mapping
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest
from gnj.transform.running import handled
from gnj.transform.sources import Bad, Http, Secrets, Source, SourceRegistry, open_source

BLOCK: Final = 10_000
"""Different records of a feed."""
COMPARED: Final = 1_000
"""Records of which it is made sure that both make the same of them."""
TYPES: Final = {"csv": "text/csv", "jsonl": "application/x-ndjson"}
CHOICES: Final = {"in stock": ["instock", "yes", "1"], "out of stock": ["no", "0"], "preorder": [""]}

TENANT: Final = "benchmark"

# by the field of the target: those of the record, flat in CSV and nested in JSON Lines, and the transform
RULES: Final[dict[str, tuple[str, str, str | None]]] = {
    "id": ("sku", "sku", None),
    "title": ("name", "name", "trim()"),
    "description": ("description", "description", "removeHTMLTags()"),
    "brand": ("brand", "brand.name", "trim()"),
    "category": ("category", "category", None),
    "price": ("price", "offer.price", "toNumber()"),
    "salePrice": ("sale_price", "offer.sale", "toNumber()"),
    "currency": ("currency", "offer.currency", None),
    "availability": ("stock_status", "offer.status", None),
    "stock": ("quantity", "offer.quantity", None),
    "gtin": ("ean", "ean", None),
    "mpn": ("mpn", "mpn", None),
    "link": ("url", "url", None),
    "image": ("image_url", "images[0].src", None),
    "color": ("colour", "colour", None),
    "size": ("size", "size", None),
    "material": ("material", "material", None),
    "rating": ("stars", "stars", None),
    "adult": ("is_adult", "is_adult", None),
    "updated": ("changed_on", "changed_on", None),
}
TEXT: Final[dict[str, Any]] = {"type": "string"}
FORMAT: Final[dict[str, dict[str, Any]]] = {
    "id": {"type": "string", "attributes": ["required"]},
    "title": {"type": "string", "attributes": ["required"]},
    "description": TEXT,
    "brand": TEXT,
    "category": TEXT,
    "price": {"type": "number", "attributes": ["required"]},
    "salePrice": {"type": "number"},
    "currency": {"type": "string", "attributes": ["currency"]},
    "availability": {"type": "string", "choices": list(CHOICES)},
    "stock": {"type": "number", "attributes": ["wholeNumber"]},
    "gtin": TEXT,
    "mpn": TEXT,
    "link": {"type": "string", "attributes": ["url"]},
    "image": {"type": "string", "attributes": ["url"]},
    "color": TEXT,
    "size": TEXT,
    "material": TEXT,
    "rating": {"type": "number"},
    "adult": {"type": "boolean"},
    "updated": {"type": "string", "attributes": ["date"]},
}


def main() -> None:
    parser = options.command_line(__doc__)
    parser.add_argument(
        "--records", type=int, metavar="N", help="records of the feed (1,000,000; 100,000 of a database)"
    )
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds, of both in turn (3)")
    parser.add_argument("--forms", default="csv,jsonl", help="of the feed (csv,jsonl)")
    parser.add_argument("--database", metavar="URL", help="time whole runs into it; sqlite: a file of its own")
    given = parser.parse_args()
    records = given.records or (100_000 if given.database else 1_000_000)
    with served(records, different=given.database is not None) as port:
        if given.database:
            runs(given, records, port)
            return
        print(f"{records:,} records of 20 fields, {given.repeat} rounds, medians\n")
        print("         ours/s  by hand/s  ratio (CPU)  ratio (clock)   RSS at 10 %   RSS at the end")
        for form in given.forms.split(","):
            print(row(form, f"http://127.0.0.1:{port}/{records}.{form}", records, given.repeat), flush=True)


def row(form: str, url: str, records: int, repeat: int) -> str:
    """A line of the table."""
    contenders = {"ours": ours(form, url), "hand": by_hand(form, url)}
    first, second = (list(islice(each(), COMPARED)) for each in contenders.values())
    assert first == second, next((a, b) for a, b in zip(first, second, strict=True) if a != b)
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    memory: list[tuple[float, float]] = []
    for turn in range(repeat):
        for name in sorted(contenders, reverse=bool(turn % 2)):
            begun, clock = time.process_time(), time.perf_counter()
            rss = drained(contenders[name], records)
            took[name].append((time.process_time() - begun, time.perf_counter() - clock))
            if name == "ours":
                memory.append(rss)
    (cpu, clock), (hand_cpu, hand_clock) = (
        tuple(map(statistics.median, zip(*took[name], strict=True))) for name in contenders
    )
    # of the first round: later ones begin with what the ones before them have left
    early, late = memory[0]
    return (
        f"{form:6} {records / cpu:8,.0f}  {records / hand_cpu:9,.0f}  {hand_cpu / cpu:11.2f}  {hand_clock / clock:13.2f}"
        f"  {early:8.1f} MiB  {late:10.1f} MiB"
    )


def drained(contender: Callable[[], Iterator[Any]], records: int) -> tuple[float, float]:
    """Takes all records of a feed; MiB of memory at a tenth of them, and behind the last."""
    feed = contender()
    count = sum(1 for _ in islice(feed, records // 10))
    early = resident()
    count += sum(1 for _ in feed)
    assert count == records, f"{count:,} of {records:,} records"
    return early, resident()


def rules(form: str) -> list[dict[str, Any]]:
    """The mapping of a form."""
    made: list[dict[str, Any]] = []
    for target, (flat, nested, transform) in RULES.items():
        rule: dict[str, Any] = {"sourceField": flat if form == "csv" else nested, "targetField": target}
        if transform is not None:
            rule["transform"] = transform
        if target == "availability":
            rule["choices"] = CHOICES
        made.append(rule)
    return made


def ours(form: str, url: str) -> Callable[[], Iterator[dict[str, Any]]]:
    """A feed as a run reads it."""
    mapping, target = compile_mapping(rules(form)), compile_format(FORMAT)
    source, registry = Source(type="Feed", url=url), SourceRegistry()

    def records() -> Iterator[dict[str, Any]]:
        http = Http(["127.0.0.1"])
        apply, convert = mapping.apply, target.convert
        with open_source(source, registry, http) as opened:
            for record in opened:
                assert not isinstance(record, Bad)
                yield convert(apply(record))
        http.close()

    return records


def runs(given: argparse.Namespace, records: int, port: int) -> None:
    """Whole runs into a database, with keys and without."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/transform.sqlite" if given.database == "sqlite" else given.database
        with GNJ(url, fetch_allow=["127.0.0.1"], secret_keys=[Secrets.new_key()]) as jobs:
            jobs.migrate()
            for form in given.forms.split(","):
                feed = f"http://127.0.0.1:{port}/{records}.{form}"
                for keyed in (False, True):
                    job = saved(jobs, form, feed, keyed=keyed)
                    print(f"{form}, {'with' if keyed else 'without'} keys: first run {told(jobs, records)}", flush=True)
                    for _ in range(given.repeat - 1):
                        jobs.transform_jobs.run_job(TENANT, job.id)
                        print(f"    again {told(jobs, records)}", flush=True)
                    jobs.transform_jobs.delete_job(TENANT, job.id)


def saved(jobs: GNJ, form: str, url: str, *, keyed: bool) -> TransformJob:
    definition = {**FORMAT, "id": {"type": "string", "attributes": ["primary"]}} if keyed else FORMAT
    return jobs.transform_jobs.save_job(
        TENANT,
        SourceInput(request=SourceRequest(type="Feed", url=url)),
        MappingInput(data=rules(form)),
        FormatInput(data=definition),
    )


def told(jobs: GNJ, records: int) -> str:
    """Does the run that waits; how fast it was."""
    claim = jobs.queue.acquire([RUN])
    assert claim is not None
    begun, clock = time.process_time(), time.perf_counter()
    counts = handled(jobs.transform)(claim, Signals())
    cpu, clock = time.process_time() - begun, time.perf_counter() - clock
    jobs.queue.succeed(claim, counts)
    assert counts["written"] == records, counts
    return f"{records / clock:,.0f} records/s ({records / cpu:,.0f} by processor time), {resident():.0f} MiB resident"


class Signals:
    """Of a worker that nobody stops."""

    cancel_requested = False
    lease_lost = False


_TAG: Final = re.compile(r"<[^>]*>")
_CURRENCIES: Final = frozenset({"EUR", "USD", "GBP"})
_CHOSEN: Final = {"instock": "in stock", "yes": "in stock", "1": "in stock", "no": "out of stock", "0": "out of stock"}
_TRUE: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


def by_hand(form: str, url: str) -> Callable[[], Iterator[dict[str, Any]]]:
    """The same, as one writes it for one feed."""

    def from_csv() -> Iterator[dict[str, Any]]:
        with urlopen(url) as answer:
            for record in csv.DictReader(io.TextIOWrapper(answer, newline="")):
                yield {
                    "id": needed(record["sku"]),
                    "title": needed(record["name"].strip()),
                    "description": plain(record["description"]),
                    "brand": record["brand"].strip(),
                    "category": record["category"],
                    "price": number(needed(record["price"])),
                    "salePrice": number(record["sale_price"]),
                    "currency": currency(record["currency"]),
                    "availability": _CHOSEN.get(record["stock_status"], "preorder"),
                    "stock": whole(record["quantity"]),
                    "gtin": record["ean"],
                    "mpn": record["mpn"],
                    "link": address(record["url"]),
                    "image": address(record["image_url"]),
                    "color": record["colour"],
                    "size": record["size"],
                    "material": record["material"],
                    "rating": number(record["stars"]),
                    "adult": _TRUE[record["is_adult"].strip().lower()],
                    "updated": day(record["changed_on"]),
                }

    def from_lines() -> Iterator[dict[str, Any]]:
        with urlopen(url) as answer:
            for line in answer:
                record = json.loads(line)
                offer = record.get("offer") or {}
                images = record.get("images")
                yield {
                    "id": needed(record["sku"]),
                    "title": needed(record["name"].strip()),
                    "description": plain(record.get("description") or ""),
                    "brand": ((record.get("brand") or {}).get("name") or "").strip(),
                    "category": record.get("category") or "",
                    "price": number(needed(offer.get("price"))),
                    "salePrice": number(offer.get("sale")),
                    "currency": currency(offer.get("currency")),
                    "availability": _CHOSEN.get(offer.get("status") or "", "preorder"),
                    "stock": whole(offer.get("quantity")),
                    "gtin": record.get("ean") or "",
                    "mpn": record.get("mpn") or "",
                    "link": address(record.get("url")),
                    "image": address(images[0].get("src") if images else ""),
                    "color": record.get("colour") or "",
                    "size": record.get("size") or "",
                    "material": record.get("material") or "",
                    "rating": number(record.get("stars")),
                    "adult": bool(record.get("is_adult")),
                    "updated": day(record.get("changed_on")),
                }

    return from_csv if form == "csv" else from_lines


def needed(value: Any) -> Any:
    if value is None or value == "":
        raise ValueError("a value is missing")
    return value


def plain(text: str) -> str:
    return html.unescape(_TAG.sub("", text)) if "<" in text or "&" in text else text


def number(value: Any) -> float:
    if not value:
        return 0
    if isinstance(value, str):
        value = value.strip().replace(",", "")
        return int(value) if value.isdecimal() else float(value)
    return value  # type: ignore[no-any-return]


def whole(value: Any) -> int:
    return int(number(value) // 1)


def currency(value: str | None) -> str:
    if not value:
        return ""
    code = value.strip().upper()
    if code not in _CURRENCIES:
        raise ValueError(f"no currency: {value}")
    return code


def address(value: str | None) -> str:
    if not value:
        return ""
    value = value.strip()
    url = value if "://" in value else f"https://{value}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"no URL: {value}")
    return url


def day(value: str | None) -> str:
    return date.fromisoformat(value.strip()).isoformat() if value else ""


def product(n: int) -> dict[str, Any]:
    """A record of 20 fields, as JSON has it."""
    return {
        "sku": f"SKU-{n:07}",
        "name": f" Wool jumper no. {n} ",
        "description": f"<p>Knitted in <b>Ireland</b>, of wool &amp; cotton. It is washed at 30 °C.</p><p>Model {n} of them.</p>",
        "brand": {"name": f"Brand {n % 97}"},
        "category": "Clothing > Jumpers",
        "offer": {
            "price": f"{1 + n % 3},{n % 1000:03}.{n % 100:02}",
            "sale": 19.99 + n % 50,
            "currency": ("EUR", "usd", "GBP")[n % 3],
            "status": ("instock", "no", "soon")[n % 3],
            "quantity": n % 40,
        },
        "ean": f"{4_000_000_000_000 + n}",
        "mpn": f"M{n % 1000}",
        "url": f"https://shop.example.com/jumpers/{n}?ref=feed",
        "images": [{"src": f"https://cdn.example.com/images/{n}.jpg"}],
        "colour": ("navy", "red", "grün")[n % 3],
        "size": "XL",
        "material": "wool" if n % 4 else "",
        "stars": n % 50 / 10,
        "is_adult": n % 7 == 0,
        "changed_on": f"2026-{n % 12 + 1:02}-{n % 28 + 1:02}",
    }


def block(form: str, first: int = 0) -> tuple[bytes, bytes]:
    """What the feed begins with, and `BLOCK` records from that one on."""
    if form == "jsonl":
        lines = (json.dumps(product(n), ensure_ascii=False) for n in range(first, first + BLOCK))
        return b"", "".join(f"{line}\n" for line in lines).encode()
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    for n in range(first, first + BLOCK):
        writer.writerow(str(found(product(n), nested)) for _, nested, _ in RULES.values())
    return (",".join(flat for flat, _, _ in RULES.values()) + "\r\n").encode(), text.getvalue().encode()


def found(record: Any, path: str) -> Any:
    for step in path.replace("[0]", ".0").split("."):
        record = record[0] if step == "0" else record[step]
    return str(record).lower() if isinstance(record, bool) else record


@contextmanager
def served(records: int, *, different: bool) -> Iterator[int]:
    """The port at which a process of its own serves the feeds; `different`: no block comes again."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, records, different), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def serve(told: Connection, records: int, different: bool) -> None:
    """Serves `/….csv` and `/….jsonl`."""
    starts = range(0, records, BLOCK)
    feeds = {form: [block(form)] * len(starts) for form in TYPES}
    if different:
        feeds = {form: [block(form, start) for start in starts] for form in TYPES}

    class Feed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            form = self.path.rpartition(".")[2]
            blocks = [whole for _, whole in feeds[form]]
            lines = blocks[-1].splitlines(keepends=True)
            blocks[-1] = b"".join(lines[: records - starts[-1]])
            parts = [feeds[form][0][0], *blocks]
            self.send_response(200)
            self.send_header("Content-Type", TYPES[form])
            self.send_header("Content-Length", str(sum(map(len, parts))))
            self.end_headers()
            try:
                for part in parts:
                    self.wfile.write(part)
            except OSError:  # whoever compares the first records reads no others
                self.close_connection = True

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Feed)
    told.send(server.server_port)
    server.serve_forever()


def resident() -> float:
    """MiB of memory that this process has in use."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(lines["VmRSS"].split()[0]) / 1024


if __name__ == "__main__":
    main()
