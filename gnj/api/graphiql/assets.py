"""What the page loads. `assets.json` lists the files; `frontend/` makes both (docs/decisions/0012-graphiql.md)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

_TYPES = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. Its name holds a part of its digest, so what a name stands for never changes."""

    name: str
    sha256: str
    """In hexadecimal."""

    @property
    def kind(self) -> str:
        """`js`, `css` or `txt` (the licences of what the others are made of)."""
        return self.name.rpartition(".")[2]

    @property
    def content_type(self) -> str:
        """The value of Content-Type."""
        return _TYPES[self.kind]

    @property
    def integrity(self) -> str:
        """The value of the attribute `integrity` (Subresource Integrity)."""
        return f"sha256-{base64.b64encode(bytes.fromhex(self.sha256)).decode()}"

    def read(self) -> bytes:
        """The content."""
        return files(__package__).joinpath("assets", self.name).read_bytes()


class Assets:
    """The files of the manifest, by name."""

    def __init__(self) -> None:
        manifest = json.loads(files(__package__).joinpath("assets.json").read_text("utf-8"))
        self._files = {each["name"]: Asset(each["name"], each["sha256"]) for each in manifest["files"]}

    def get(self, name: str) -> Asset | None:
        """The file of that name, or None: nothing but what the manifest names is ever read."""
        return self._files.get(name)

    def of(self, kind: str) -> Asset:
        """The one file of that kind."""
        (found,) = (asset for asset in self._files.values() if asset.kind == kind)
        return found

    def __iter__(self) -> Iterator[Asset]:
        return iter(self._files.values())
