"""How fast assets are imported from a zip, and what it takes of memory.

    python -m benchmarks.content_assets [URL] [--assets 10000] [--bytes 20000]

An application with its embedded worker imports a zip of that many files, which do not compress, into an organisation of its own, in
the database of the URL (a file in a temporary directory unless given), and keeps the files in a directory.
"""

from __future__ import annotations

import random
import secrets
import tempfile
import zipfile
from pathlib import Path

from benchmarks.content_import import resident, told
from benchmarks.harness import options
from gnj import GNJ
from gnj.queue.model_content import ContentType

KEY = "uploads/1/assets.zip"


def main() -> None:
    parser = options.command_line(__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--assets", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=20_000, help="of each asset")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = given.url or f"sqlite:///{directory}/content.sqlite"
        with GNJ(url, files=f"{directory}/files", content_workers=1) as jobs:
            jobs.migrate()
            jobs.routes(["content"])
            jobs.start()
            run(jobs, Path(directory), given.assets, given.bytes)


def run(jobs: GNJ, directory: Path, count: int, size: int) -> None:
    """Imports, and says how long it took."""
    tenant = f"bench-{secrets.token_hex(4)}"
    archive = directory / "assets.zip"
    chance = random.Random(1)
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(count):
            packed.writestr(f"site-{number % 10}/images/{number:06}.bin", chance.randbytes(size))
    sink = jobs.content.files.create(tenant, KEY)
    with archive.open("rb") as stream:
        while piece := stream.read(2**20):
            sink.write(piece)
    length = sink.finish().size
    print(f"{count:,} assets, {length / 2**20:,.1f} MiB, {resident()[0]} MiB resident at first")
    seconds = told(jobs, tenant, ContentType.IMPORT_ASSETS, KEY)
    print(f"import {count / seconds:,.0f} assets/s, {length / 2**20 / seconds:,.1f} MiB/s")
    print(f"{resident()[1]} MiB resident at most")


if __name__ == "__main__":
    main()
