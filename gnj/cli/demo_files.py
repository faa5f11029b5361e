"""The work of the demo: which files a folder has, and what is to be known of one."""

from __future__ import annotations

import hashlib
import os
import stat
import sysconfig
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_FILES = 50_000
LEVEL = 6
_CHUNK = 1 << 20
_CACHES = frozenset({"__pycache__", "site-packages", "dist-packages"})
# a file may have become a pipe, which would block, or a link, since it was found
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class TooManyFiles(Exception):
    """The folder is too large for a demo."""


def standard_library() -> Path:
    """Where Python's own modules are: a folder that every machine with Python has."""
    return Path(sysconfig.get_path("stdlib"))


@dataclass(slots=True)
class Scan:
    """What a folder has.

    Args:
        paths: Its regular files, relative to it, in order.
        skipped: What was left out: how often, by reason.
    """

    paths: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def scan(folder: Path) -> Scan:
    """The files of a folder and all below it; links are not followed, so that a loop of them is none.

    Caches and installed packages are left out of Python's own folder. Raises `TooManyFiles`, and `OSError` when the
    folder itself cannot be read.
    """
    left_out = _CACHES if folder == standard_library() else frozenset[str]()
    result = Scan()
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as found:
                entries = list(found)
        except OSError:
            if here == folder:
                raise
            result.skipped["a folder that cannot be read"] += 1
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in left_out:
                    pending.append(Path(entry.path))
            elif reason := _unfit(entry):
                result.skipped[reason] += 1
            else:
                result.paths.append(Path(entry.path).relative_to(folder).as_posix())
        if len(result.paths) > MAX_FILES:
            raise TooManyFiles(f"{folder} has more than {MAX_FILES:,} files: choose a smaller folder")
    result.paths.sort()
    return result


def _unfit(entry: os.DirEntry[str]) -> str | None:
    if entry.is_symlink():
        return "a link"
    if not entry.is_file(follow_symlinks=False):
        return "no regular file"
    try:
        entry.path.encode()
    except UnicodeEncodeError:
        # a job's input is JSON text, which cannot hold it
        return "a name that is not UTF-8"
    return None


def measure(folder: Path, path: str, checkpoint: Callable[[], None]) -> dict[str, Any]:
    """One file compressed, hashed and its lines counted: the output of its job.

    What has vanished meanwhile or may not be read is `skipped`, with the reason. `checkpoint` is called about once per
    megabyte, and may raise.
    """
    begin = time.perf_counter()
    digest, packer = hashlib.sha256(), zlib.compressobj(LEVEL)
    size = packed = lines = 0
    try:
        with os.fdopen(os.open(folder / path, _FLAGS), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return {"path": path, "skipped": "no regular file"}
            while chunk := file.read(_CHUNK):
                checkpoint()
                size += len(chunk)
                lines += chunk.count(b"\n")
                digest.update(chunk)
                packed += len(packer.compress(chunk))
    except FileNotFoundError:
        return {"path": path, "skipped": "vanished"}
    except OSError as error:
        return {"path": path, "skipped": f"cannot be read ({error.strerror})"}
    packed += len(packer.flush())
    return {
        "path": path,
        "bytesIn": size,
        "bytesOut": packed,
        "sha256": digest.hexdigest(),
        "lines": lines,
        "seconds": round(time.perf_counter() - begin, 6),
    }


def total(outputs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of many outputs: that of the summary job. The digest stands for every path and what is in it."""
    done = sorted((output for output in outputs if "skipped" not in output), key=lambda output: str(output["path"]))
    digest = hashlib.sha256()
    for output in done:
        digest.update(f"{output['path']}\0{output['sha256']}\n".encode())
    return {
        "files": len(done),
        **{name: sum(output[name] for output in done) for name in ("bytesIn", "bytesOut", "lines")},
        "digest": digest.hexdigest(),
    }
