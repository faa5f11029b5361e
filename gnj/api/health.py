"""Whether the server lives, and whether it can work: `/healthz` and `/readyz`. Neither asks who is calling."""

from __future__ import annotations

from collections.abc import Callable

from gnj.api.http import Request, Response, Route, json, unavailable
from gnj.queue.errors import GnjError


def routes(check: Callable[[], None]) -> list[Route]:
    """The two routes; `check` raises a `GnjError` when the storage cannot be used."""

    def alive(_request: Request) -> Response:
        return json({"status": "ok"})

    def ready(_request: Request) -> Response:
        try:
            check()
        except GnjError as error:
            # the code alone: a message names the database, and anybody may ask
            return unavailable({"status": "unavailable", "code": error.code})
        return json({"status": "ok"})

    return [
        Route(path="/healthz", methods=("GET",), endpoint=alive, name="healthz"),
        Route(path="/readyz", methods=("GET",), endpoint=ready, name="readyz"),
    ]
