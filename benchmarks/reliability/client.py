"""GraphQL over HTTP to whichever server answers: what a worker or a creator in any language would write."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import httpx

from gnj.queue.errors import StorageUnavailable


class Refused(Exception):
    """The server answered, and said no."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Client:
    """Asks one of several servers; after a failure the next one. Threads may share it.

    Args:
        urls: The servers.
        seed: Where to begin.
        timeout: Seconds to wait for an answer: a frozen server has to be left before the lease is over.
    """

    def __init__(self, urls: Sequence[str], seed: int, timeout: float) -> None:
        self._urls = list(urls)
        random.Random(seed).shuffle(self._urls)
        # trust_env: a proxy of the environment is not for this machine's own address
        limits = httpx.Limits(max_keepalive_connections=8, keepalive_expiry=5)
        self._http = httpx.Client(timeout=timeout, trust_env=False, limits=limits)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of one operation. Raises `StorageUnavailable` where asking again can help, else `Refused`."""
        url = self._urls[0]
        try:
            response = self._http.post(f"{url}/graphql", json={"query": query, "variables": variables})
            answer = json.loads(response.content)
        except (httpx.HTTPError, ValueError) as error:
            self._leave(url)
            raise StorageUnavailable(f"{url}: {type(error).__name__}") from error
        if errors := answer.get("errors"):
            code = str(errors[0].get("extensions", {}).get("code"))
            if response.status_code >= 500 or code in ("CONFLICT", "STORAGE_UNAVAILABLE", "INTERNAL_SERVER_ERROR"):
                self._leave(url)
                raise StorageUnavailable(f"{code}: {errors[0]['message']}")
            raise Refused(code, str(errors[0]["message"]))
        data: dict[str, Any] = answer["data"]
        return data

    def close(self) -> None:
        """Gives back the connections."""
        self._http.close()

    def _leave(self, url: str) -> None:
        if self._urls[0] == url:  # another thread may have left it before
            self._urls = [*self._urls[1:], url]
