"""Who may import whom. The rooms of the house are data; every import statement of every module is held to them.

An import inside a function obeys the same rule as one at the top, except in the composition roots, which import any
room but only when it is needed, so that `import gnj` costs nothing but the queue.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gnj", "gnj_starlette", "gnj_flask")
FACADE = "gnj"
LONGEST_MODULE = 600
LONGEST_ADAPTER = 300
HEAVY = {
    "alembic",
    "ariadne",
    "babel",
    "boto3",
    "croniter",
    "cryptography",
    "flask",
    "graphql",
    "httpx",
    "phonenumbers",
    "pint",
    "psycopg",
    "pymysql",
    "rich",
    "sqlalchemy",
    "starlette",
    "typer",
    "uvicorn",
}


class Run(IntEnum):
    """When an import statement is run."""

    AT_ONCE = 0
    WHEN_CALLED = 1
    NEVER = 2
    """It stands under `if TYPE_CHECKING`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What the modules below a name may import besides the standard library and one another."""

    sees: frozenset[str]
    """Modules of ours, each with all that is below it (the facade: itself only)."""
    never: frozenset[str]
    """Exceptions from `sees` and from the room itself."""
    uses: frozenset[str]
    """Packages of others."""
    when_called: frozenset[str]
    """Packages of others, inside functions or for type checking only."""
    in_types: frozenset[str]
    """Packages of others, for type checking only."""
    composes: bool
    """Whether it may import every module of ours inside functions or for type checking."""


def room(sees: str = "", *, composes: bool = False, **names: str) -> Room:
    lists = {"never": "", "uses": "", "when_called": "", "in_types": "", "sees": sees} | names
    return Room(composes=composes, **{name: frozenset(text.split()) for name, text in lists.items()})


ROOMS = {
    # gnj.graphql.limits loads nothing else of its room.
    "gnj": room(
        "gnj.access gnj.app gnj.graphql.limits gnj.operations gnj.queue gnj.settings gnj.transaction gnj.worker",
        composes=True,
    ),
    # The types of other packages stand in its signatures (a session, a schema), never in its work.
    "gnj.app": room(
        "gnj.access gnj.graphql.limits gnj.joining gnj.operations gnj.queue gnj.recurring gnj.serving gnj.settings gnj.worker",
        in_types="sqlalchemy",
        composes=True,
    ),
    # Parts of the facade.
    "gnj.joining": room("gnj.queue", in_types="sqlalchemy", composes=True),
    "gnj.serving": room("gnj.operations gnj.queue gnj.settings", in_types="graphql ariadne", composes=True),
    # What runs beside the faces.
    "gnj.background": room("gnj.background_content gnj.content gnj.push gnj.queue gnj.settings gnj.worker"),
    # The handlers of content jobs know no worker: whoever has one gives them what it runs.
    "gnj.background_content": room("gnj.content gnj.queue gnj.worker"),
    "gnj.background_transform": room("gnj.queue gnj.transform gnj.worker"),
    # A push shows a job as the queue contract does.
    "gnj.push": room("gnj.api.queues.jobjson gnj.fetch gnj.queue gnj.worker"),
    # It knows no jobs: what is called, and where that may lead, is all it is told.
    "gnj.fetch": room(),
    # graphql: to compare two schemas.
    "gnj.cli": room(
        "gnj.graphql.limits gnj.queue", uses="typer rich uvicorn httpx", when_called="graphql", composes=True
    ),
    # The server of `gnj serve` speaks HTTP, as the adapters do.
    "gnj.cli.http": room("gnj.api.http gnj.cli.prompt gnj.graphql.limits", uses="uvicorn"),
    "gnj.cli.prompt": room("gnj.api.asgi gnj.api.http gnj.graphql.limits", uses="uvicorn"),
    "gnj.access": room(),
    # What a host registers, and what of it can be said without GraphQL: `import gnj` loads it.
    "gnj.transaction": room("gnj.access gnj.queue", in_types="sqlalchemy"),
    "gnj.operations": room("gnj.access gnj.queue gnj.transaction"),
    "gnj.recurring": room("gnj.queue gnj.worker"),
    "gnj.settings": room("gnj.graphql.limits gnj.queue gnj.settings_content gnj.settings_transform"),
    "gnj.settings_content": room("gnj.queue"),
    "gnj.settings_transform": room("gnj.queue"),
    "gnj.queue": room(uses="croniter"),
    "gnj.storage": room("gnj.queue gnj.storage"),
    # The memory storage must work where no SQL library does.
    "gnj.storage.memory": room("gnj.queue gnj.storage.memory_pruning", never="gnj.storage.sql"),
    "gnj.storage.memory_pruning": room("gnj.queue", never="gnj.storage.sql"),
    "gnj.storage.sql": room("gnj.queue gnj.storage", uses="sqlalchemy alembic psycopg pymysql greenlet"),
    # It shares the storage's transactions.
    "gnj.storage.sql.content": room("gnj.content gnj.queue gnj.storage", uses="sqlalchemy psycopg"),
    # A remote worker speaks to its queue as any client does.
    "gnj.worker": room("gnj.queue gnj.client", when_called="httpx"),
    "gnj.client": room("gnj.queue", when_called="httpx"),
    "gnj.testing": room("gnj.content gnj.queue gnj.testing.adapters gnj.worker", uses="pytest hypothesis"),
    # What is carried to a GNJ, and what a GNJ answers.
    "gnj.testing.adapters": room("gnj gnj.access gnj.api gnj.graphql.limits gnj.queue gnj.testing", uses="pytest"),
    "gnj.graphql": room(
        "gnj.queue.bounds gnj.queue.deadline gnj.queue.errors gnj.queue.later gnj.queue.model gnj.queue.values gnj.queue.where gnj.queue.lists gnj.queue.ordering gnj.queue.storage",
        uses="ariadne graphql",
    ),
    "gnj.api": room(
        "gnj.access gnj.fetch gnj.queue gnj.graphql gnj.operations gnj.content gnj.transform", uses="ariadne graphql"
    ),
    # It knows neither entries nor sources.
    "gnj.reading": room("gnj.queue"),
    "gnj.content": room("gnj.queue gnj.reading gnj.settings_content", when_called="boto3 botocore"),
    "gnj.transform": room(
        "gnj.fetch gnj.push.signing gnj.queue gnj.reading gnj.settings_transform",
        uses="babel cryptography dateutil defusedxml email_validator phonenumbers pint rapidfuzz regex",
    ),
    "gnj_starlette": room("gnj gnj.access gnj.api", uses="starlette anyio"),
    "gnj_flask": room("gnj gnj.access gnj.api", uses="flask werkzeug"),
}


@dataclass(frozen=True, slots=True)
class Import:
    """One thing that a module imports; the target is "?" when its text does not tell."""

    target: str
    line: int
    run: Run


def modules(root: Path) -> dict[str, Path]:
    """Every module of the packages below `root`, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def below(name: str, ancestor: str) -> bool:
    return name == ancestor or (ancestor != FACADE and name.startswith(ancestor + "."))


def room_of(module: str) -> str | None:
    return max((name for name in ROOMS if below(module, name)), key=len, default=None)


def imports(module: str, path: Path, known: set[str]) -> Iterator[Import]:
    """All that a module imports, wherever in it the statement stands."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    # A folder without __init__.py is a module too, though no file bears its name.
    known = known | {name.rpartition(".")[0] for name in known}

    def walk(node: ast.AST, run: Run) -> Iterator[Import]:
        for target in targets(node, package, known):
            yield Import(target, node.lineno, run)  # type: ignore[attr-defined]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            run = max(run, Run.WHEN_CALLED)
        unrun = node.body if isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING" else []
        for child in ast.iter_child_nodes(node):
            yield from walk(child, Run.NEVER if child in unrun else run)

    yield from walk(ast.parse(path.read_text(encoding="utf-8"), str(path)), Run.AT_ONCE)


def targets(node: ast.AST, package: str, known: set[str]) -> Iterator[str]:
    """What this node itself imports into a module of `package`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = absolute(package, "." * node.level + (node.module or ""))
        for alias in node.names:
            # `from gnj.queue import errors` imports a module, `from gnj.queue import Queue` what a module holds.
            name = f"{base}.{alias.name}"
            yield name if name in known else base
    elif isinstance(node, ast.Call) and name_of(node.func) in {"import_module", "__import__"}:
        argument = node.args[0] if node.args else None
        literal = argument.value if isinstance(argument, ast.Constant) else None
        yield absolute(package, literal) if isinstance(literal, str) else "?"


def name_of(expression: ast.expr) -> str:
    """The last word of a dotted name: `import_module` in `importlib.import_module`."""
    return expression.id if isinstance(expression, ast.Name) else getattr(expression, "attr", "")


def absolute(package: str, name: str) -> str:
    """`name` without its leading dots, as seen from `package`."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    if level == 0:
        return name
    parents = package.split(".")
    if level > len(parents):
        return "?"
    return ".".join(filter(None, [*parents[: len(parents) - level + 1], rest]))


def refusal(module: str, found: Import) -> str | None:
    """Why a module may not import that, or None."""
    name = room_of(module)
    if name is None:
        return f"imports {found.target}, and is in no room: add it to ROOMS with what it may import"
    rule, top = ROOMS[name], found.target.partition(".")[0]
    if found.target == "?":
        # The facade and the commands look names up by design; elsewhere a name made at run time could be anything.
        return None if rule.composes else "imports what cannot be told from its text"
    if top in PACKAGES:
        if rule.composes and found.run > Run.AT_ONCE:
            return None
        if any(below(found.target, other) for other in rule.never):
            return f"imports {found.target}, which {name} must not know"
        if room_of(found.target) == name or any(below(found.target, other) for other in rule.sees):
            return None
        when = " when it is imported itself" if rule.composes else ""
        return f"imports {found.target}{when}; {name} sees {', '.join(sorted(rule.sees)) or 'nobody'}"
    uses = sys.stdlib_module_names | rule.uses
    if found.run >= Run.WHEN_CALLED:
        uses |= rule.when_called
    if found.run is Run.NEVER:
        uses |= rule.in_types
    if top in uses:
        return None
    when = " too early" if top in rule.when_called | rule.in_types else ""
    return f"imports {found.target}{when}; {name} uses {', '.join(sorted(rule.uses)) or 'the standard library only'}"


def violations(root: Path) -> list[str]:
    found = modules(root)
    return [
        f"{path.relative_to(root)}:{each.line}: {module} {why}"
        for module, path in found.items()
        for each in imports(module, path, set(found))
        if (why := refusal(module, each)) is not None
    ]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_imports_point_one_way():
    assert violations(ROOT) == []


def test_no_module_is_too_long_to_read():
    assert {module: length for module, path in modules(ROOT).items() if (length := lines(path)) > LONGEST_MODULE} == {}


@pytest.mark.parametrize("adapter", ["gnj_starlette", "gnj_flask"])
def test_adapters_only_carry(adapter):
    assert sum(lines(path) for path in (ROOT / adapter).rglob("*.py")) < LONGEST_ADAPTER


@pytest.mark.parametrize("module", ["gnj", "gnj.storage.memory", "gnj.testing"])
def test_importing_is_light(module):
    code = f"import {module}, json, sys; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert HEAVY & set(json.loads(result.stdout)) == set()


def plant(root: Path, path: str, source: str) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(source, encoding="utf-8")


@pytest.fixture
def house(tmp_path):
    """A small house in which every import is allowed."""
    for path, source in {
        "gnj/__init__.py": "from gnj.app import GNJ\ndef __getattr__(name):\n import importlib\n return importlib.import_module(name)",
        "gnj/app.py": "import gnj.queue\nif TYPE_CHECKING:\n from sqlalchemy import Engine\ndef f():\n from gnj.storage import sql",
        "gnj/cli/__init__.py": "from gnj.cli import serve\n",
        "gnj/cli/serve.py": "import uvicorn\ndef f():\n import gnj_starlette",
        "gnj/queue/__init__.py": "from . import service\nfrom .service import Queue",
        "gnj/queue/service.py": "from __future__ import annotations\nfrom gnj.queue import errors\nfrom .errors import X",
        "gnj/queue/errors.py": "",
        "gnj/queue/recurring.py": "def f():\n from croniter import croniter",
        "gnj/storage/memory.py": "from gnj.queue import Queue\nfrom ..queue.errors import X",
        "gnj/storage/sql/__init__.py": "import sqlalchemy.orm\nfrom gnj.storage.sql import rows",
        "gnj/storage/sql/rows.py": "from gnj.queue.model import Job\nimport psycopg",
        "gnj/worker/remote.py": "def f():\n import httpx",
        "gnj/graphql/errors.py": "from gnj.queue import errors\nfrom graphql import GraphQLError",
        "gnj/api/jobs/__init__.py": "from gnj.queue import Queue\nfrom gnj.graphql import errors\nimport ariadne",
        "gnj_starlette/__init__.py": "from starlette.routing import Route\nfrom gnj.api import http\nfrom gnj import GNJ",
    }.items():
        plant(tmp_path, path, source)
    return tmp_path


def test_a_house_in_order_is_not_reported(house):
    assert violations(house) == []


@pytest.mark.parametrize(
    "path, source",
    [
        ("gnj/queue/bad.py", "import sqlalchemy"),
        ("gnj/queue/bad.py", "import gnj"),
        ("gnj/queue/bad.py", "from gnj import storage"),
        ("gnj/queue/bad.py", "from ..storage.memory import MemoryStorage"),
        ("gnj/queue/bad.py", "from .. import app"),
        ("gnj/queue/bad.py", "from .... import anything"),
        ("gnj/queue/bad.py", "def f():\n  class C:\n    async def g(self):\n      import httpx"),
        ("gnj/queue/bad.py", "if TYPE_CHECKING:\n  from sqlalchemy import Engine"),
        ("gnj/queue/bad.py", "try:\n  import orjson\nexcept ImportError:\n  pass"),
        ("gnj/queue/bad.py", "import importlib\nimportlib.import_module('gnj.app')"),
        ("gnj/queue/bad.py", "import importlib\nimportlib.import_module('..app', __package__)"),
        ("gnj/queue/bad.py", "name = 'gnj.app'\n__import__(name)"),
        ("gnj/storage/memory.py", "from gnj.storage.sql import rows"),
        ("gnj/storage/memory.py", "from .sql import rows"),
        ("gnj/storage/bad.py", "import sqlalchemy"),
        ("gnj/storage/sql/bad.py", "import gnj.worker.remote"),
        ("gnj/storage/sql/bad.py", "import graphql"),
        ("gnj/worker/bad.py", "import httpx"),
        ("gnj/worker/bad.py", "def f():\n  from gnj.storage import memory"),
        ("gnj/testing/bad.py", "from gnj.storage.memory import MemoryStorage"),
        ("gnj/graphql/bad.py", "from gnj.queue import Queue"),
        ("gnj/graphql/bad.py", "from gnj.queue import service"),
        ("gnj/graphql/bad.py", "import starlette.requests"),
        ("gnj/api/bad.py", "from starlette.requests import Request"),
        ("gnj/api/bad.py", "from gnj.storage import memory"),
        ("gnj/api/bad.py", "from gnj import GNJ"),
        ("gnj/content/bad.py", "from gnj.api import http"),
        ("gnj_starlette/bad.py", "from gnj.queue import Queue"),
        ("gnj_starlette/bad.py", "import uvicorn"),
        ("gnj_flask/bad.py", "import gnj_starlette"),
        ("gnj/app.py", "from gnj.storage import memory"),
        ("gnj/app.py", "import sqlalchemy"),
        ("gnj/app.py", "def f():\n  import sqlalchemy"),
        ("gnj/app.py", "def f():\n  import starlette"),
        ("gnj/cli/bad.py", "import gnj_starlette"),
        ("gnj/__init__.py", "from gnj.api import http"),
        ("gnj/corridor.py", "import json"),
    ],
)  # fmt: skip
def test_a_planted_import_is_reported(house, path, source):
    plant(house, path, source)
    assert [line for line in violations(house) if line.startswith(f"{path}:")] != []
