"""Installs what gnj is measured beside, each at the version that is named here.

    python -m benchmarks.setup_rivals FOLDER

Makes FOLDER/python (a virtual environment), FOLDER/node and FOLDER/original (packages of npm, where there is a Node 20 or later; without
it graphile-worker, pg-boss and the server that gnj's GraphQL API is modelled on are left out). Nothing is installed anywhere else. Run
again, it repairs what is missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from benchmarks.harness import options

PYTHON = {
    "asyncpg": "0.32.0",
    "huey": "3.5.4",
    "pgqueuer": "1.6.0",
    "procrastinate": "3.10.0",
    "psycopg[binary,pool]": "3.3.9",
}
NODE = {"graphile-worker": "0.18.0", "pg": "8.23.1", "pg-boss": "12.35.0"}
ORIGINAL = {
    "@apollo/server": "4.13.0",
    "@teamstarter/graphql-node-jobs": "5.1.0",
    "apollo-utilities": "1.3.4",
    "date-fns": "2.30.0",
    "express": "4.22.3",
    "graphql": "16.15.0",
    "graphql-relay": "0.10.2",
    "graphql-sequelize": "9.5.1",
    "graphql-subscriptions": "1.2.1",
    "pg": "8.23.1",
    "sequelize": "6.28.0",
    "ws": "8.23.0",
}
"""With what its package expects beside it."""
_NAME = "@teamstarter/graphql-node-jobs"
# a lock file then tells versions and hashes, not where they were fetched
_NPMRC = "omit-lockfile-registry-resolved=true\naudit=false\nfund=false\n"


def python_of(folder: Path) -> Path:
    """The interpreter that has the rivals in Python."""
    return folder / "python" / "bin" / "python"


def node_of(folder: Path) -> Path:
    """The folder with those in JavaScript."""
    return folder / "node"


def original_of(folder: Path) -> Path:
    """The folder with the server that gnj's GraphQL API is modelled on."""
    return folder / "original"


def install_python(folder: Path) -> None:
    """The virtual environment."""
    if not python_of(folder).exists():
        venv.create(folder / "python", with_pip=True)
    wanted = [f"{name}=={version}" for name, version in PYTHON.items()]
    subprocess.run([python_of(folder), "-m", "pip", "install", "--quiet", *wanted], check=True)


def install_node(folder: Path) -> bool:
    """The packages of npm; False where there is no npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return False
    _install(npm, node_of(folder), "module", NODE)
    # its packages ask for versions of each other that are not those it was made with
    _install(npm, original_of(folder), "commonjs", ORIGINAL, "--legacy-peer-deps")
    return True


def _install(npm: str, place: Path, kind: str, packages: Mapping[str, str], *more: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "package.json").write_text(json.dumps({"private": True, "type": kind, "dependencies": packages}, indent=2))
    (place / ".npmrc").write_text(_NPMRC)
    subprocess.run([npm, "install", "--loglevel=error", *more], cwd=place, check=True)


def main() -> None:
    """Installs."""
    parser = options.command_line(__doc__)
    parser.add_argument("folder", type=Path, help="made unless it is there")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        install_python(folder)
        with_node = install_node(folder)
    except subprocess.CalledProcessError as error:
        sys.exit(f"setup_rivals: {error.cmd[0]} failed with exit code {error.returncode}; what it said stands above")
    print(f"{', '.join(f'{name} {version}' for name, version in PYTHON.items())}: {python_of(folder)}")
    if with_node:
        print(f"{', '.join(f'{name} {version}' for name, version in NODE.items())}: {node_of(folder)}")
        print(f"{_NAME} {ORIGINAL[_NAME]}: {original_of(folder)}")
    else:
        print(f"There is no npm or no node: graphile-worker, pg-boss and {_NAME} will be left out.")


if __name__ == "__main__":
    main()
