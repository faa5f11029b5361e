"""What every `FileStore` must do, whoever wrote it: a subclass gives the fixtures `files` and `send`."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence

import pytest

from gnj.content.files import FileStore, UploadOver, bare_etag, part_sizes
from gnj.queue.errors import InvalidInput, NotFound

_NUMBERS = itertools.count(1)
Send = Callable[[str, str, str, int, int, bytes], str]
"""Sends a part: tenant, key, backend, number, offset and its bytes; gives its ETag."""


class FileStoreContract:
    """The methods of the protocol; `PART` is the size of parts, which S3 does not let be smaller than 5 MiB."""

    PART = 10

    @pytest.fixture
    def files(self) -> FileStore:
        """A store; other tests may have left files in it."""
        raise NotImplementedError

    @pytest.fixture
    def send(self, files: FileStore) -> Send:
        """How clients send parts to it."""

        def send(tenant: str, key: str, backend: str, number: int, offset: int, data: bytes) -> str:
            sink = files.part(tenant, key, backend, number, offset, len(data))
            for begin in range(0, len(data), 7):
                sink.write(data[begin : begin + 7])
            return sink.finish()

        return send

    @pytest.fixture
    def tenant(self) -> str:
        """One that no other test has."""
        return f"Acme/../{next(_NUMBERS)}"

    @pytest.fixture
    def data(self) -> bytes:
        """Two parts and a bit."""
        return hashlib.sha256(b"seed").digest() * (self.PART * 2 // 32) + b"0123456789" * 2 + b"end"

    def begun(self, files: FileStore, tenant: str, key: str, data: bytes) -> tuple[str, Sequence[int], list[bytes]]:
        sizes = part_sizes(len(data), self.PART)
        pieces = [data[number * self.PART :][:size] for number, size in enumerate(sizes)]
        assert b"".join(pieces) == data
        return files.begin(tenant, key, len(data), self.PART), sizes, pieces

    def uploaded(
        self, files: FileStore, send: Send, tenant: str, key: str, data: bytes
    ) -> tuple[str, Sequence[int], list[str]]:
        backend, sizes, pieces = self.begun(files, tenant, key, data)
        # the last part first: their order is the client's
        etags = {n: send(tenant, key, backend, n, (n - 1) * self.PART, pieces[n - 1]) for n in range(len(sizes), 0, -1)}
        return backend, sizes, [etags[number] for number in sorted(etags)]

    def test_parts_in_any_order_become_one_file_and_no_file_before(self, files, send, tenant, data):
        backend, sizes, etags = self.uploaded(files, send, tenant, "uploads/1/ż ó.json", data)
        assert files.stat(tenant, "uploads/1/ż ó.json") is None
        stored = files.complete(tenant, "uploads/1/ż ó.json", backend, sizes, etags)
        assert (stored.key, stored.size) == ("uploads/1/ż ó.json", len(data))
        assert files.stat(tenant, "uploads/1/ż ó.json") == stored
        with files.open(tenant, "uploads/1/ż ó.json") as file:
            assert file.read() == data
            assert file.seek(-3, 2) == len(data) - 3
            assert file.read(10) == b"end"
            file.seek(4)
            assert file.read(9) == data[4:13]
        assert files.stat("another", "uploads/1/ż ó.json") is None

    def test_completing_again_gives_the_same(self, files, send, tenant, data):
        backend, sizes, etags = self.uploaded(files, send, tenant, "k", data)
        quoted = [f'"{bare_etag(each).upper()}"' for each in etags]
        stored = files.complete(tenant, "k", backend, sizes, quoted)
        assert files.complete(tenant, "k", backend, sizes, etags) == stored
        with pytest.raises(InvalidInput):
            files.complete(tenant, "k", backend, sizes, [*etags[:-1], "0" * 32])
        files.drop(tenant, "k", backend)
        assert files.stat(tenant, "k") == stored

    @pytest.mark.parametrize("etag", ["0" * 32, "", "no ETag", '"'])
    def test_a_wrong_etag_is_named_and_nothing_is_seen(self, files, send, tenant, data, etag):
        backend, sizes, etags = self.uploaded(files, send, tenant, "k", data)
        with pytest.raises(InvalidInput, match="part 2"):
            files.complete(tenant, "k", backend, sizes, [etags[0], etag, *etags[2:]])
        assert files.stat(tenant, "k") is None
        files.complete(tenant, "k", backend, sizes, etags)  # it can be put right

    def test_a_part_that_is_missing_is_named(self, files, send, tenant, data):
        backend, sizes, pieces = self.begun(files, tenant, "k", data)
        etag = send(tenant, "k", backend, 1, 0, pieces[0])
        with pytest.raises(InvalidInput, match="part 2"):
            files.complete(tenant, "k", backend, sizes, [etag] * len(sizes))
        assert files.stat(tenant, "k") is None

    def test_a_part_may_come_again_and_the_last_one_counts(self, files, send, tenant, data):
        backend, sizes, pieces = self.begun(files, tenant, "k", data)
        wrong = send(tenant, "k", backend, 1, 0, b"x" * self.PART)
        etags = [send(tenant, "k", backend, n, (n - 1) * self.PART, piece) for n, piece in enumerate(pieces, 1)]
        with pytest.raises(InvalidInput, match="part 1"):
            files.complete(tenant, "k", backend, sizes, [wrong, *etags[1:]])
        files.complete(tenant, "k", backend, sizes, etags)
        with files.open(tenant, "k") as file:
            assert file.read() == data

    def test_a_dropped_upload_is_over(self, files, send, tenant, data):
        backend, sizes, etags = self.uploaded(files, send, tenant, "k", data)
        files.drop(tenant, "k", backend)
        files.drop(tenant, "k", backend)
        with pytest.raises(UploadOver):
            files.complete(tenant, "k", backend, sizes, etags)
        assert files.stat(tenant, "k") is None

    def test_an_upload_is_its_tenants(self, files, send, tenant, data):
        backend, sizes, etags = self.uploaded(files, send, tenant, "k", data)
        with pytest.raises(UploadOver):
            files.complete("another", "k", backend, sizes, etags)
        files.drop("another", "k", backend)
        files.complete(tenant, "k", backend, sizes, etags)

    def test_a_new_file_is_seen_once_it_is_finished(self, files, tenant):
        sink = files.create(tenant, "exports/1.jsonl")
        sink.write(b"one\n")
        sink.write(b"")
        sink.write(b"two\n")
        assert files.stat(tenant, "exports/1.jsonl") is None
        stored = sink.finish()
        sink.abort()
        assert stored.size == 8
        assert files.stat(tenant, "exports/1.jsonl") == stored
        assert bare_etag(f' "{stored.etag.upper()}"') == stored.etag

    def test_an_empty_file(self, files, tenant):
        assert files.create(tenant, "empty").finish().size == 0
        with files.open(tenant, "empty") as file:
            assert file.read() == b""

    def test_an_aborted_file_leaves_the_earlier_one(self, files, tenant):
        first = files.create(tenant, "k")
        first.write(b"first")
        first.finish()
        second = files.create(tenant, "k")
        second.write(b"second")
        second.abort()
        second.abort()
        with files.open(tenant, "k") as file:
            assert file.read() == b"first"

    def test_a_file_is_replaced_whole(self, files, tenant):
        for data in (b"a longer first", b"second"):
            sink = files.create(tenant, "k")
            sink.write(data)
            sink.finish()
        found = files.stat(tenant, "k")
        assert found is not None
        assert found.size == 6
        with files.open(tenant, "k") as file:
            assert file.read() == b"second"

    def test_a_removed_file_is_gone(self, files, tenant):
        files.create(tenant, "k").finish()
        files.remove(tenant, "k")
        files.remove(tenant, "k")
        assert files.stat(tenant, "k") is None
        with pytest.raises(NotFound):
            files.open(tenant, "k")

    @pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "uploads/../../x", ".", "", "a//b", "x" * 2000])
    def test_a_key_is_no_path(self, files, tenant, key):
        assert files.stat(tenant, key) is None
        with pytest.raises(NotFound):
            files.open(tenant, key)
        files.remove(tenant, key)
