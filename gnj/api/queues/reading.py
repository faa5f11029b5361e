"""What a REST request says - body, parts of the path, parameters - checked; what is wrong is a `Refusal` that names it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from gnj.api.http import Request
from gnj.queue.errors import InvalidInput
from gnj.queue.options import MAX_ID, check_name, fit_name, unfit_id
from gnj.queue.values import Json, check_text, parse_json, shown

_INTEGER: Final = re.compile(r"-?[0-9]{1,16}")
_ENCODED_SLASH: Final = re.compile(r"%2f", re.IGNORECASE)
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: The HTTP status.
        text: What the client is told.
        headers: What goes with it, names in lower case.
    """

    def __init__(self, status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = tuple(headers)


def check_path(request: Request) -> None:
    """Refuses a path that was sent with an encoded slash, or with a percent sign that begins no escape: 400 that names the segment.

    To routing the one is a slash and the other a percent sign, and what is served would be something else than was asked for.
    Where the server does not tell what was sent, nothing is refused.
    """
    sent = request.sent_path
    if sent is None or "%" not in sent:
        return
    for segment in sent.split("/"):
        if _ENCODED_SLASH.search(segment):
            raise Refusal(400, f"a slash is not allowed in a segment of the path: {shown(segment)}")
        if _BAD_ESCAPE.search(segment):
            raise Refusal(400, f"a segment of the path is not percent-encoded: {shown(segment)}")


def check_queue(name: str) -> str:
    """The name of a queue, which is a type of jobs. Refused: what cannot be one, and the name that means all queues."""
    return check_name(fit_name(name))


def check_id(id: str) -> str:
    """The id of a job in a path: a number, or a text of the client's own. Refused: what is no id."""
    try:
        check_text(id, "job id", maximum=MAX_ID, empty=False)
    except InvalidInput as error:
        raise Refusal(400, str(error)) from None
    if unfit := unfit_id(id):
        raise Refusal(400, f"job id must not {unfit}")
    return id


def check_parameters(request: Request, known: Collection[str]) -> None:
    """Refuses query parameters that are not `known`, and those that are given more than once."""
    seen = set()
    for name, _ in request.parameters:
        if name not in known:
            raise Refusal(400, f"Unexpected parameter: {shown(name)}")
        if name in seen:
            raise Refusal(400, f"{name} must be given once")
        seen.add(name)


def integer(text: str | None, default: int, low: int, high: int, *, invalid: str, below: str, above: str) -> int:
    """The whole number that `text` is, from `low` to `high`, or the default where there is none.

    `invalid`, `below` and `above` are what is told of a text that is no number, and of one out of bounds.
    """
    if text is None:
        return default
    if not _INTEGER.fullmatch(text):
        raise Refusal(400, invalid)
    number = int(text)
    if number < low:
        raise Refusal(400, below)
    if number > high:
        raise Refusal(400, above)
    return number


def body_of(request: Request, most: int | None = None, *, checked: bool = True) -> Json:
    """The JSON value of the body. Refused: another content type (415), what is no JSON (400), more than `most` bytes (413).

    Raises `InvalidInput` for JSON that no storage may keep; unless it is `checked`, parts of it may be such: see `parse_json`.
    """
    if content_type(request) != "application/json":
        raise Refusal(415, "Content-Type must be application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Refusal(415, "Content-Encoding must be identity", [("accept-encoding", "identity")])
    if most is not None and len(request.body) > most:
        raise Refusal(413, f"A body is limited to {most:,} bytes here.")
    return parse_json(request.body, "the body", checked=checked)


def exact(value: Json) -> Json:
    """Settings, their numbers as JSON Schema means them: 5.0 is the integer 5."""
    if isinstance(value, dict):
        return {name: exact(each) for name, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def content_type(request: Request) -> str:
    """The media type of the body, in lower case, without parameters; the charset, if one is named, must be UTF-8."""
    type, _, parameters = request.headers.get("content-type", "").partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip(' "').lower() not in ("utf-8", "utf8"):
            raise Refusal(415, "Content-Type must be application/json in UTF-8")
    return type.strip().lower()
