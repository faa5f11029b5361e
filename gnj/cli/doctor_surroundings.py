"""What `gnj doctor` looks at besides the database: where files are, and the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gnj.cli.doctor_checks import Judgement, Result, Verdict
from gnj.queue.errors import GnjError

if TYPE_CHECKING:
    from gnj.app import GNJ


def around(jobs: GNJ) -> list[Result]:
    """The results of these checks."""
    return [Result("files", *files(jobs)), Result("environment", *environment())]


def files(jobs: GNJ) -> Judgement:
    """Whether content jobs can keep their files."""
    from gnj.content.local_files import LocalFiles
    from gnj.content.s3_files import S3Files

    if not jobs.serves_content:
        return Verdict.NONE, "there are no content jobs on this database"
    try:
        store = jobs.content.files
    except GnjError as error:
        return Verdict.PROBLEM, str(error), "name a directory or s3://bucket/prefix: --files, GNJ_FILES"
    if isinstance(store, LocalFiles):
        return directory(store.root.absolute())
    if not isinstance(store, S3Files):
        return Verdict.NONE, f"{type(store).__name__} is a file store of its own kind"
    try:
        store.check()
    except GnjError as error:
        advice = "see what the log above says, GNJ_FILES, GNJ_FILES_ENDPOINT and the AWS_… variables"
        return Verdict.PROBLEM, f"the bucket {store.bucket}: {error}", advice
    return Verdict.OK, f"the bucket {store.bucket} answers"


def directory(path: Path) -> Judgement:
    """Whether files can be written there; nothing is made."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Verdict.OK, f"{path} can be written" if there == path else f"{path} is made when something is uploaded"
    advice = "let the user that runs gnj write there, or choose another directory: --files, GNJ_FILES"
    return Verdict.PROBLEM, f"{there} cannot be written" + ("" if there.is_dir() else ": it is no directory"), advice


def environment() -> Judgement:
    """Whether variables that begin as those of bounds do mean something."""
    from gnj.settings import unknown_variables

    if unknown := unknown_variables():
        return (
            Verdict.WARNING,
            f"no setting: {', '.join(unknown)}",
            "see the names in docs/security.md, docs/content.md and docs/transform_results.md",
        )
    return Verdict.OK, "every variable of a bound has a setting"
