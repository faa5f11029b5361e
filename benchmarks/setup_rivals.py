"""Installs what gnj is measured beside, each at the version that is named here.

    python -m benchmarks.setup_rivals FOLDER

Makes FOLDER/python (a virtual environment) and FOLDER/node (packages of npm, where there is a Node 20 or later; without it
graphile-worker and pg-boss are left out). Nothing is installed anywhere else. Run again, it repairs what is missing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
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
# a lock file then tells versions and hashes, not where they were fetched
_NPMRC = "omit-lockfile-registry-resolved=true\naudit=false\nfund=false\n"


def python_of(folder: Path) -> Path:
    """The interpreter that has the rivals in Python."""
    return folder / "python" / "bin" / "python"


def node_of(folder: Path) -> Path:
    """The folder with those in JavaScript."""
    return folder / "node"


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
    place = node_of(folder)
    place.mkdir(parents=True, exist_ok=True)
    (place / "package.json").write_text(json.dumps({"private": True, "type": "module", "dependencies": NODE}, indent=2))
    (place / ".npmrc").write_text(_NPMRC)
    subprocess.run([npm, "install", "--loglevel=error"], cwd=place, check=True)
    return True


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
    else:
        print("There is no npm or no node: graphile-worker and pg-boss will be left out.")


if __name__ == "__main__":
    main()
