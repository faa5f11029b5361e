"""`module:attr`: the handlers a command line names, and the database they go with."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gnj.cli.output import CommandError, Ended

if TYPE_CHECKING:
    from gnj.app import GNJ
    from gnj.worker import Handlers

_EXAMPLE = "module:attr, such as app:jobs for the name jobs in app.py"


@dataclass(frozen=True, slots=True)
class Target:
    """What `module:attr` stands for.

    Args:
        name: As it was typed.
        handlers: What it runs.
        jobs: The `GNJ` it is, with a database and hooks of its own; None for `Handlers` alone.
    """

    name: str
    handlers: Handlers
    jobs: GNJ | None


def load(name: str) -> Target:
    """Imports what `name` says, the working directory being looked in first. Raises `CommandError`."""
    from gnj.app import GNJ
    from gnj.worker import Handlers

    found = _find(name)
    if isinstance(found, GNJ):
        return Target(name, found.handlers, found)
    if isinstance(found, Handlers):
        return Target(name, found, None)
    raise CommandError(f"{name} is a {type(found).__name__}: it must be a gnj.GNJ or a gnj.Handlers")


def _find(name: str) -> object:
    module_name, _, path = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise CommandError(f"{name!r} does not name any handlers: give {_EXAMPLE}")
    here = os.getcwd()  # noqa: PTH109 - sys.path holds texts
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise CommandError(f"{module_name} cannot be imported: {error}") from error
        where = f" (looked in {here} and in Python's own path)"
        hint = f"; did you mean {module_name[:-3]}:{path}?" if module_name.endswith(".py") else ""
        raise CommandError(f"there is no module {error.name}{where}{hint}") from error
    except Ended:
        raise
    except (Exception, SystemExit) as error:
        raise CommandError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            file = getattr(sys.modules[module_name], "__file__", None)
            where = f" ({Path(file)})" if file else ""
            raise CommandError(f"{module_name}{where} has no {path}") from error
    return found
