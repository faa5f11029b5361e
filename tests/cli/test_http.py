from __future__ import annotations

import asyncio

from gnj.cli.http import _Joining

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Wire:
    """A transport that keeps what it is given to send."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def close(self) -> None:
        self.sent.append(b"(end)")

    def get_write_buffer_size(self) -> int:
        return 7


def joined(*writes: bytes | None) -> list[bytes]:
    """What is sent of these writes; None lets the loop turn, b"" closes."""

    async def send() -> list[bytes]:
        wire = Wire()
        transport = _Joining(wire, asyncio.get_running_loop())  # type: ignore[arg-type]
        for each in writes:
            if each is None:
                await asyncio.sleep(0)
            elif each:
                transport.write(each)
            else:
                transport.close()
        await asyncio.sleep(0)
        assert transport.get_write_buffer_size() == 7
        return wire.sent

    return asyncio.run(send())


def test_a_head_is_sent_with_its_body():
    assert joined(HEAD, b"body") == [HEAD + b"body"]
    assert joined(HEAD, b"body", HEAD, b"more") == [HEAD + b"body", HEAD + b"more"]


def test_a_head_waits_no_longer_than_a_turn_of_the_loop():
    assert joined(HEAD, None, b"body") == [HEAD, b"body"]
    assert joined(HEAD) == [HEAD]


def test_a_large_body_is_not_copied():
    large = b"x" * 100_000
    assert joined(HEAD, large, b"more") == [HEAD, large, b"more"]


def test_a_head_without_a_body_is_sent_before_the_end():
    assert joined(HEAD, b"") == [HEAD, b"(end)"]


def test_what_looks_like_a_head_is_sent_in_order():
    assert joined(HEAD, HEAD, b"a") == [HEAD + HEAD, b"a"]
