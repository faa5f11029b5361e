"""Applications with transformation jobs, a shop of this machine that they read, and ways to ask them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import httpx
import pytest

from gnj import GNJ
from gnj.queue.model_transform import RUN
from gnj.testing import drain
from gnj.transform import running
from gnj.worker import Handlers
from tests.transform.sites import Site, answer, site

TestClient = pytest.importorskip("starlette.testclient").TestClient

PATH = "/transform/graphql"
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
ITEMS = [{"sku": "1", "title": "Tea", "price": "3.5"}, {"sku": "2", "title": "Milk", "price": "none"}]
RULES = [
    {"sourceField": "sku", "targetField": "id"},
    {"sourceField": "title", "targetField": "name", "transform": "toUpperCase()"},
]
FORMAT = {"id": {"type": "string", "attributes": ["primary", "required"]}, "name": {"type": "string"}}
PRICED = {**FORMAT, "price": {"type": "number"}}
SAVE = """mutation($source: SourceInput!, $mapping: MappingInput, $format: TargetFormatInput) {
  saveJob(source: $source, mapping: $mapping, targetFormat: $format) }"""


def as_json(items: Any) -> bytes:
    """An answer with JSON."""
    return answer(json.dumps(items).encode(), "application/json")


@pytest.fixture(scope="module")
def shop() -> Iterator[Site]:
    """A site with a feed at /feed, one that fails at /broken, and none elsewhere."""
    with site(feed=as_json(ITEMS), empty=as_json([]), broken=answer(b"", status=500)) as made:
        yield made


@pytest.fixture
def settings() -> dict[str, Any]:
    """What else the application is given."""
    return {}


@pytest.fixture
def jobs(settings: dict[str, Any]) -> Iterator[GNJ]:
    """The application; its own worker is not started."""
    given = {"transform_workers": 0, "fetch_allow": ["127.0.0.1"], "secret_keys": [KEY], **settings}
    with GNJ(given.pop("database", "memory://"), **given) as made:
        yield made


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Any

    @property
    def data(self) -> Any:
        """What the operation gave; there must be no errors."""
        assert self.status == 200, self.body
        assert "errors" not in self.body, self.body["errors"]
        return self.body["data"]

    @property
    def value(self) -> Any:
        """What its only field gave."""
        (value,) = self.data.values()
        return value

    @property
    def error(self) -> Any:
        """Its only error: the extensions, with the message."""
        (error,) = self.body["errors"]
        return {**error["extensions"], "message": error["message"]}

    @property
    def codes(self) -> list[str]:
        """Those of the errors."""
        return [error["extensions"]["code"] for error in self.body.get("errors", ())]


class Ask(Protocol):
    """Asks the endpoint."""

    def __call__(self, query: str, /, *, key: str | None = None, **variables: Any) -> Answer: ...


@pytest.fixture(params=["asgi"])
def client(request: pytest.FixtureRequest, jobs: GNJ) -> Iterator[httpx.Client]:
    """A direct client of this machine. For both kinds of application:
    `@pytest.mark.parametrize("client", ["asgi", "wsgi"], indirect=True)`.
    """
    if request.param == "asgi":
        app = jobs.asgi_app(["transform"])
        with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000)) as over_asgi:
            yield over_asgi
    else:
        transport = httpx.WSGITransport(jobs.wsgi_app(["transform"]), remote_addr="127.0.0.1")
        with httpx.Client(transport=transport, base_url="http://localhost") as over_wsgi:
            yield over_wsgi


@pytest.fixture
def ask(client: httpx.Client) -> Ask:
    """Asks over `client`."""

    def ask(query: str, /, *, key: str | None = None, **variables: Any) -> Answer:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        response = client.post(PATH, json={"query": query, "variables": variables}, headers=headers)
        return Answer(response.status_code, response.json())

    return ask


@pytest.fixture
def work(jobs: GNJ) -> Callable[[], None]:
    """Works runs in the calling thread until none is ready."""

    def work() -> None:
        handlers = Handlers()
        running.register(handlers, jobs.transform)
        drain(SimpleNamespace(queue=jobs.queue, handlers=handlers), types=(RUN,))

    return work


@pytest.fixture
def save(ask: Ask, shop: Site) -> Callable[..., str]:
    """Saves a job of a feed, the shop's unless another path is given; its id."""

    def save(path: str = "/feed", *, format: Mapping[str, Any] = FORMAT, key: str | None = None) -> str:
        request = {"type": "Feed", "url": shop.url(path)}
        made = ask(SAVE, key=key, source={"sourceRequest": request}, mapping={"data": RULES}, format={"data": format})
        return str(made.value)

    return save
