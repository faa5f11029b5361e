"""What transformations are made of, as gnj ships it: mappings, target formats, sources, proposals."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from gnj.fetch.waits import GoOn
from gnj.queue.model_transform import TransformSource
from gnj.queue.values import MAX_NAME, MAX_TEXT, Json, check_text, dump_json
from gnj.transform.application import Hosts, Reading
from gnj.transform.formats import TargetFormat, compile_format
from gnj.transform.generating import propose
from gnj.transform.mapping import Mapping as Rules
from gnj.transform.mapping import compile_mapping
from gnj.transform.requests import SourceRequest
from gnj.transform.sources import Http, Secrets, Source, Validators, check_source, open_source
from gnj.transform.values import Record
from gnj.transform.webhooks import Webhooks


class ShippedParts:
    """The parts of one application.

    Args:
        hosts: What the host has registered.
        http: The way to sources.
        secrets: Encrypts their credentials.
        region: The country, two letters, of phone numbers that do not tell theirs.
        release: Of gnj: another one may convert otherwise.
    """

    def __init__(self, hosts: Hosts, http: Http, secrets: Secrets, *, region: str, release: str) -> None:
        self._hosts = hosts
        self._http = http
        self._secrets = secrets
        self._region = region
        self._release = release
        self.webhooks = Webhooks(http, secrets)
        """See `Parts.webhooks`."""

    @property
    def version(self) -> str:
        """See `Parts.version`."""
        handlers = sorted(
            [name, getattr(handler, "__module__", ""), getattr(handler, "__qualname__", type(handler).__qualname__)]
            for name, handler in self._hosts.attributes.items()
        )
        configured = dump_json([self._release, self._region, handlers])
        return hashlib.blake2b(configured.encode(), digest_size=8).hexdigest()

    def mapping(self, rules: Any) -> Rules:
        """See `Parts.mapping`."""
        return compile_mapping(rules)

    def format(self, definition: Any) -> TargetFormat:
        """See `Parts.format`."""
        return compile_format(definition, region=self._region, handlers=self._hosts.attributes)

    def propose(self, samples: Sequence[Record], definition: Json) -> Sequence[Json]:
        """See `Parts.propose`; what a host's generator gives is checked."""
        if not self._hosts.generators:
            return propose(samples, definition)
        rules: Json = self._hosts.generators[-1](samples, definition)
        return compile_mapping(rules).wire()

    def stored(self, request: SourceRequest) -> dict[str, Any]:
        """See `Parts.stored`."""
        credentials = {} if request.credentials is None else request.credentials
        source = Source(
            type=request.type,
            url=request.url,
            method=request.method,
            headers=request.headers or (),
            body=request.body,
            credentials=credentials,
        )
        check_source(source, self._hosts.sources, self._http.policy)
        return {
            "name": None if request.name is None else check_text(request.name, "name", maximum=MAX_NAME),
            "type": request.type,
            "url": request.url,
            "description": None
            if request.description is None
            else check_text(request.description, "description", maximum=MAX_TEXT),
            "headers": None if request.headers is None else list(request.headers),
            "body": request.body,
            "method": request.method,
            "credentials": self._secrets.encrypt(credentials),
        }

    def open(
        self, source: TransformSource, validators: Validators | None, go_on: GoOn | None = None
    ) -> AbstractContextManager[Reading]:
        """See `Parts.open`."""
        plain = Source(
            type=source.type,
            url=source.url,
            method=source.method,
            headers=source.headers or (),
            body=source.body,
            credentials=self._secrets.decrypt(source.credentials),
        )
        return open_source(plain, self._hosts.sources, self._http, validators, go_on)

    def close(self) -> None:
        """Closes the connections to sources that are kept."""
        self._http.close()
