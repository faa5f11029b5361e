"""GraphQL responses as JSON text, whatever resolvers made of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from gnj.graphql.errors import masked
from gnj.queue.values import dump_json

logger = logging.getLogger("gnj.graphql")


def encoded(body: Mapping[str, Any]) -> str:
    """A response as compact JSON. What JSON cannot say is left out and told as an error of its own; raises nothing."""
    try:
        text = dump_json(dict(body))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        # Stored values are checked when they come in; only a custom resolver can give NaN, a lone surrogate, an object.
        # The operation has run and may have changed something, so the client still gets the rest.
        errors = [*body.get("errors", []), masked(error, "encoding the response", logger)]
        return dump_json({"errors": errors, "data": _sendable(body.get("data"), 0)})
    return text


def _sendable(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth < 200:
        if isinstance(value, Mapping):
            return {
                str(key).encode(errors="replace").decode(): _sendable(item, depth + 1) for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [_sendable(item, depth + 1) for item in value]
    return None
