"""Files that are sent: read ahead by a thread, never far, and broken off where they are broken."""

from __future__ import annotations

import io
import threading

import pytest

from gnj.api import http
from gnj.api.file_stream import AHEAD, CHUNK, FileStream, Underway
from gnj.api.wsgi import Carrier
from gnj.testing.adapters import Echo

WAIT = 20


class Pulled:
    """Takes all of a stream, as an adapter does."""

    def __init__(self, stream):
        self.stream = stream
        self.ready = threading.Event()
        stream.attach(self.ready.set)

    def all(self):
        pieces: list[bytes] = []
        while True:
            self.ready.clear()
            piece = self.stream.take()
            if piece is None:
                return pieces
            if piece:
                pieces.append(piece)
            else:
                assert self.ready.wait(WAIT)


class Counted(io.BytesIO):
    """Tells how much was read of it, and when it is closed."""

    def __init__(self, data, fails_at=None):
        super().__init__(data)
        self.reads = 0
        self.fails_at = fails_at
        self.gone = threading.Event()
        self.waiting = threading.Semaphore(0)

    def read(self, size=-1):
        self.reads += 1
        self.waiting.release()
        if self.reads == self.fails_at:
            raise OSError("the disk is gone")
        return super().read(size)

    def close(self):
        super().close()
        self.gone.set()


@pytest.mark.parametrize("size", [0, 1, CHUNK, 5 * CHUNK + 3])
def test_all_of_a_file_comes_in_pieces(size):
    data = bytes(range(256)) * (size // 256 + 1)
    file = Counted(data)
    pieces = Pulled(FileStream(file, size)).all()
    assert b"".join(pieces) == data[:size]
    assert all(len(piece) <= CHUNK for piece in pieces)
    assert file.gone.wait(WAIT)


def test_it_is_not_read_further_than_it_is_taken():
    file = Counted(bytes(20 * CHUNK))
    stream = FileStream(file, 20 * CHUNK)
    pulled = Pulled(stream)
    for _ in range(AHEAD):
        assert file.waiting.acquire(timeout=WAIT)
    assert not file.waiting.acquire(timeout=0.05)
    assert stream.take() == bytes(CHUNK)
    assert file.waiting.acquire(timeout=WAIT)
    assert len(pulled.all()) == 19


@pytest.mark.parametrize("file", [Counted(bytes(CHUNK + 5)), Counted(bytes(3 * CHUNK), fails_at=2)])
def test_a_file_that_has_less_or_cannot_be_read_breaks_off_after_what_there_was(file):
    pulled = Pulled(FileStream(file, 2 * CHUNK + 10))
    with pytest.raises(ConnectionAbortedError):
        pulled.all()
    assert file.gone.wait(WAIT)


def test_a_client_that_goes_away_ends_the_reading():
    file = Counted(bytes(20 * CHUNK))
    stream = FileStream(file, 20 * CHUNK)
    Pulled(stream)
    assert file.waiting.acquire(timeout=WAIT)
    stream.close()
    stream.close()
    assert file.gone.wait(WAIT)
    assert file.reads <= AHEAD + 1
    assert stream.take() is None


def test_what_is_never_sent_is_closed_without_a_thread():
    file = Counted(b"x")
    stream = FileStream(file, 1)
    stream.close()
    assert file.gone.is_set()
    stream.attach(lambda: None)
    assert file.reads == 0


def test_where_the_system_has_no_thread_it_is_broken_off_and_closed(monkeypatch):
    def none_left(_thread):
        raise RuntimeError("can't start new thread")

    file, ended = Counted(b"x"), []
    stream = FileStream(file, 1, lambda: ended.append(1))
    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(ConnectionAbortedError):
        stream.attach(lambda: None)
    assert file.gone.is_set()
    stream.close()
    assert ended == [1]
    # under WSGI nothing was sent yet
    carrier, file = Carrier(Echo(wsgi_streams=1)), Counted(b"x")
    for _ in range(2):
        answer = carrier.sendable(http.Response(stream=FileStream(file, 1)), {"REQUEST_METHOD": "GET"})
        assert (answer.status, file.gone.is_set()) == (503, True)
        assert b"BUSY" in b"".join(answer.body)


def test_so_many_are_sent_at_once_of_a_tenant_and_of_all():
    downloads = Underway(most=3, each=2)
    first, second, third = (downloads.enter(tenant) for tenant in "aab")
    assert first is not None
    assert second is not None
    assert third is not None
    assert [downloads.enter(tenant) for tenant in "abc"] == [None] * 3
    third()
    assert downloads.enter("a") is None
    first()
    assert [downloads.enter(tenant) is None for tenant in "acb"] == [False, False, True]


@pytest.mark.parametrize("how", ["read", "closed", "unsent"])
def test_its_place_is_free_once_the_file_is_closed(how):
    ended = threading.Semaphore(0)
    file = Counted(bytes(20 * CHUNK))
    stream = FileStream(file, 20 * CHUNK, ended.release)
    if how == "unsent":
        stream.close()
    else:
        pulled = Pulled(stream)
        assert not ended.acquire(timeout=0.01)
        if how == "read":
            pulled.all()
        stream.close()
    assert ended.acquire(timeout=WAIT)
    assert file.gone.is_set()
    stream.close()
    assert not ended.acquire(timeout=0.01)
