"""Parts of transformation jobs that are as simple as can be: the core is tested with them, not they."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gnj.transform.errors import BadFormat, BadMapping, BadSource, RecordRejected, SourceFailed
from gnj.transform.sources import Bad, Http, Secrets, Validators
from gnj.transform.webhooks import Webhooks


class FakeMapping:
    def __init__(self, rules: Any) -> None:
        if not isinstance(rules, list):
            raise BadMapping("mapping must be a list")
        self.rules = rules

    def apply(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {rule["targetField"]: record.get(rule["sourceField"]) for rule in self.rules}

    def wire(self) -> Any:
        return self.rules


class FakeFormat:
    def __init__(self, definition: Any) -> None:
        if not isinstance(definition, dict):
            raise BadFormat("target format must be an object")
        self.definition = definition

    def _with(self, attribute: str) -> list[str]:
        return [name for name, field in self.definition.items() if attribute in field.get("attributes", ())]

    def convert(self, mapped: Mapping[str, Any]) -> dict[str, Any]:
        if missing := [name for name in self._with("required") if mapped.get(name) is None]:
            raise RecordRejected([f"{name} is required" for name in missing])
        return {name: mapped.get(name) for name in self.definition}

    def key(self, converted: Mapping[str, Any]) -> str | None:
        primary = self._with("primary")
        return "|".join(str(converted[name]) for name in primary) if primary else None

    def wire(self) -> Any:
        return self.definition


class FakeReading:
    def __init__(self, items: Any, *, unchanged: bool = False, validators: Validators | None = None) -> None:
        self.items = items
        self.unchanged = unchanged
        self.validators = validators or Validators()

    def __iter__(self) -> Iterator[Any]:
        for position, item in enumerate(self.items, 1):
            if isinstance(item, Exception):
                raise item
            yield Bad(position, "it is no JSON", item) if isinstance(item, str) else item


class FakeParts:
    """`feeds` are what the URLs give: records, texts for what cannot be read, exceptions that are raised in their turn; or what makes a
    `FakeReading` of the validators that are sent.
    """

    def __init__(self) -> None:
        self.version = "1"
        self.feeds: dict[str | None, Any] = {}
        self.opened: list[tuple[str | None, Any]] = []
        self.go_on: Any = None
        self.webhooks = Webhooks(Http(["127.0.0.1"]), Secrets([Secrets.new_key()]))

    def mapping(self, rules: Any) -> FakeMapping:
        return FakeMapping(rules)

    def format(self, definition: Any) -> FakeFormat:
        return FakeFormat(definition)

    def propose(self, samples: Any, definition: Any) -> list[Any]:
        return [{"sourceField": name, "targetField": name} for name in definition if name in samples[0]]

    def stored(self, request: Any) -> dict[str, Any]:
        if not request.url:
            raise BadSource("url is missing")
        sealed = None if request.credentials is None else f"sealed {len(request.credentials)}"
        names = ("name", "type", "url", "description", "body", "method")
        return {**{name: getattr(request, name) for name in names}, "headers": request.headers, "credentials": sealed}

    @contextmanager
    def open(self, source: Any, validators: Any, go_on: Any = None) -> Iterator[FakeReading]:
        self.opened.append((source.url, validators))
        self.go_on = go_on
        feed = self.feeds.get(source.url)
        if feed is None:
            raise SourceFailed("404 Not Found", final=True)
        yield feed(validators) if callable(feed) else FakeReading(feed)

    def close(self) -> None:
        self.webhooks._http.close()
