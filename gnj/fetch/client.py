"""One call to an endpoint: its name looked up once and checked, its time counted from beginning to end.

HTTP/1.1 on sockets of its own rather than `http.client`: the address that was checked is the one that is dialled, every single
wait is cut to what is left of the call's time, and a call costs a third of the processor time.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from gnj.fetch.address import BadUrl, place_of
from gnj.fetch.connection import UNREACHABLE, Failure, Pool, connected
from gnj.fetch.messages import Head, head_of, pieces_of, request_of
from gnj.fetch.policy import Blocked, Policy

logger = logging.getLogger("gnj.fetch")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Names of headers in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


def call(
    url: str,
    *,
    method: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout: float,
    most: int,
    policy: Policy,
    pool: Pool,
) -> Reply:
    """Sends a request, once, and reads its answer. Redirects are not followed, proxies and cookies are not used.

    Args:
        url: Of http or https.
        method: In capitals.
        headers: What is sent besides Host, Content-Length and Accept-Encoding; checked by the caller.
        body: What is sent.
        timeout: Seconds for all of it.
        most: Bytes of the answer's body; more is a `Failure`.
        policy: Where it may lead.
        pool: What it shares with other calls.

    Raises `Blocked`, `Failure`, and TimeoutError.
    """
    deadline = time.monotonic() + timeout
    try:
        place = place_of(url)
    except BadUrl as error:
        raise Blocked(str(error)) from None
    request = request_of(place, method, headers, body)
    try:
        connection = connected(place, policy, pool, deadline)
        try:
            connection.deadline = deadline
            connection.send(request)
            head = _plain(head_of(connection))
            content = b"".join(pieces_of(connection, head, most))
        except BaseException:
            connection.close()
            raise
    except TimeoutError:
        raise TimeoutError("the call took too long") from None
    except (OSError, ssl.CertificateError) as error:
        logger.info("a call to %s failed: %s", place.host, error)
        raise Failure(UNREACHABLE) from None
    pool.give_back(connection, keeps=head.keeps and head.is_delimited)
    return Reply(head.status, head.reason, head.headers, content)


def _plain(head: Head) -> Head:
    if head.headers.get("content-encoding", "identity").lower() != "identity":
        raise Failure("the answer is compressed, which was not asked for")
    return head
