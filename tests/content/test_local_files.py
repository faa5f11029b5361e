"""`LocalFiles`: the contract, what it leaves on the disk, and what a crash leaves."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest

from gnj.content import local_disk as disk
from gnj.content.files import AccessRefused, DiskFull, FileGone, TooLarge, UploadOver, part_sizes
from gnj.content.local_files import LocalFiles
from gnj.queue.errors import InvalidInput, NotFound, StorageUnavailable
from tests.content.file_contract import FileStoreContract

SIZES = [10, 10, 3]


class TestLocalFiles(FileStoreContract):
    @pytest.fixture
    def files(self, tmp_path):
        return LocalFiles(tmp_path / "below" / "files")


@pytest.fixture
def files(tmp_path):
    return LocalFiles(tmp_path)


def everything(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def put(files, backend, number, data, *, key="k"):
    sink = files.part("t", key, backend, number, (number - 1) * 10, len(data))
    sink.write(data)
    return sink.finish()


def uploaded(files, key="k"):
    backend = files.begin("t", key, 23, 10)
    return backend, [put(files, backend, n, bytes([n]) * size, key=key) for n, size in enumerate(SIZES, 1)]


def test_nothing_is_made_before_something_is_written(tmp_path):
    files = LocalFiles(tmp_path / "files")
    assert files.stat("t", "k") is None
    files.remove("t", "k")
    files.drop("t", "k", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_sizes_of_parts():
    assert part_sizes(23, 10) == SIZES
    assert part_sizes(20, 10) == [10, 10]
    assert part_sizes(1, 10) == [1]


def test_an_etag_is_the_digest_of_the_bytes_and_of_a_whole_that_of_its_parts(files):
    backend, etags = uploaded(files)
    assert etags[2] == hashlib.md5(b"\3\3\3").hexdigest()
    stored = files.complete("t", "k", backend, SIZES, etags)
    assert stored.etag == hashlib.md5(b"".join(map(bytes.fromhex, etags))).hexdigest() + "-3"


def test_after_completion_only_the_file_is_left(files, tmp_path):
    backend, etags = uploaded(files)
    files.complete("t", "k", backend, SIZES, etags)
    assert len(everything(tmp_path)) == 2
    files.remove("t", "k")
    assert everything(tmp_path) == []


def test_bytes_cannot_change_after_completion(files):
    backend, etags = uploaded(files)
    late = files.part("t", "k", backend, 1, 0, 10)
    late.write(b"x" * 10)
    files.complete("t", "k", backend, SIZES, etags)
    with pytest.raises(UploadOver):
        late.finish()
    with pytest.raises(UploadOver):
        files.part("t", "k", backend, 1, 0, 10)
    with files.open("t", "k") as file:
        assert file.read(10) == b"\1" * 10


def test_too_much_and_too_little(files, tmp_path):
    backend = files.begin("t", "k", 23, 10)
    before = everything(tmp_path)
    sink = files.part("t", "k", backend, 1, 0, 10)
    sink.write(b"x" * 10)
    with pytest.raises(TooLarge):
        sink.write(b"x")
    sink.abort()
    sink.abort()
    short = files.part("t", "k", backend, 1, 0, 10)
    short.write(b"x" * 9)
    with pytest.raises(InvalidInput, match="10 bytes, and only 9"):
        short.finish()
    assert everything(tmp_path) == before


def test_a_part_that_breaks_off_leaves_the_one_before(files):
    backend, etags = uploaded(files)
    sink = files.part("t", "k", backend, 1, 0, 10)
    sink.write(b"xxxx")
    sink.abort()
    files.complete("t", "k", backend, SIZES, etags)


def test_one_part_sent_many_times_at_once_is_one_of_them_whole(files):
    backend = files.begin("t", "k", 200_000, 200_000)
    etags = {}

    def send(value):
        sink = files.part("t", "k", backend, 1, 0, 200_000)
        for _ in range(20):
            sink.write(value * 10_000)
        etags[sink.finish()] = value

    threads = [threading.Thread(target=send, args=(bytes([65 + n]),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(etags) == 8
    fits = []
    for etag in etags:
        try:
            files.complete("t", "k", backend, [200_000], [etag])
        except InvalidInput:
            continue
        fits.append(etag)
    assert len(fits) == 1
    with files.open("t", "k") as file:
        assert file.read() == etags[fits[0]] * 200_000


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", range(1, 12))
def test_a_kill_at_any_step_of_completion_and_then_again(files, monkeypatch, step):
    """Nothing, or the whole file, is seen after it; to complete again has it there."""
    backend, etags = uploaded(files)
    left = [step]

    def killing(real):
        def call(*args, **options):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in ("rename", "fsync", "unlink", "rmdir"):
            patch.setattr(os, name, killing(getattr(os, name)))
        try:
            files.complete("t", "k", backend, SIZES, etags)
            killed = False
        except Killed:
            killed = True
    assert killed or step > 9
    seen = files.stat("t", "k")
    assert seen is None or seen.size == 23
    stored = files.complete("t", "k", backend, SIZES, etags)
    assert stored.size == 23
    with files.open("t", "k") as file:
        assert file.read() == b"\1" * 10 + b"\2" * 10 + b"\3" * 3
    assert files.complete("t", "k", backend, SIZES, etags) == stored


@pytest.mark.parametrize("step", range(1, 7))
def test_a_kill_while_a_part_is_put_in_the_place_of_another(files, monkeypatch, step):
    """Whatever ETag is accepted afterwards, the bytes are those it was made of."""
    backend, etags = uploaded(files)
    left = [step]

    def killing(real):
        def call(*args, **options):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*args, **options)

        return call

    sink = files.part("t", "k", backend, 1, 0, 10)
    sink.write(b"new bytes!")
    new = hashlib.md5(b"new bytes!").hexdigest()
    with monkeypatch.context() as patch:
        for name in ("rename", "fsync", "copy_file_range"):
            patch.setattr(os, name, killing(getattr(os, name)))
        with contextlib.suppress(Killed):
            sink.finish()
    for etag, first in ((etags[0], b"\1" * 10), (new, b"new bytes!")):
        try:
            files.complete("t", "k", backend, SIZES, [etag, *etags[1:]])
        except InvalidInput:
            continue
        with files.open("t", "k") as file:
            assert file.read(10) == first
        return
    assert files.stat("t", "k") is None  # neither: the client sends it again
    put(files, backend, 1, b"new bytes!")
    assert files.complete("t", "k", backend, SIZES, [new, *etags[1:]]).size == 23


def test_who_reads_goes_on_reading_what_was_there(files):
    sink = files.create("t", "k")
    sink.write(b"old")
    sink.finish()
    with files.open("t", "k") as file:
        sink = files.create("t", "k")
        sink.write(b"newer")
        sink.finish()
        assert file.read() == b"old"
        files.remove("t", "k")


def test_no_name_is_a_path(files, tmp_path):
    outside = tmp_path.parent / "outside"
    for tenant, key in (("../..", "../../outside"), ("/", "/etc/passwd"), ("a\0b", "c\0d"), ("ż" * 500, "ż" * 500)):
        sink = files.create(tenant, key)
        sink.write(b"x")
        sink.finish()
        assert files.stat(tenant, key) is not None
    assert not outside.exists()
    with pytest.raises(UploadOver):
        files.part("t", "k", "../../../../etc", 1, 0, 1)


def test_symbolic_links_below_the_root_are_not_followed(files, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    sink = files.create("t", "k")
    sink.write(b"secret")
    sink.finish()
    (data,) = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix and path != secret]
    data.unlink()
    data.symlink_to(secret)
    assert files.stat("t", "k") is None
    with pytest.raises(StorageUnavailable):
        files.open("t", "k")
    folder = data.parent
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)
    with pytest.raises(StorageUnavailable):
        files.create("t", "k").finish()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "number, error, message",
    [
        (errno.ENOSPC, DiskFull, "There is no room left where the files are kept."),
        (errno.EDQUOT, DiskFull, "There is no room left where the files are kept."),
        (errno.EACCES, AccessRefused, "The server may not read or write where the files are kept."),
        (errno.EPERM, AccessRefused, "The server may not read or write where the files are kept."),
        (errno.EROFS, AccessRefused, "The server may not read or write where the files are kept."),
        (errno.ENOENT, FileGone, "A file that was being written or read is not there any more."),
        (errno.ESTALE, FileGone, "A file that was being written or read is not there any more."),
        (errno.EIO, StorageUnavailable, "the files cannot be reached"),
    ],
)
def test_what_the_system_refuses_is_told_without_paths(files, monkeypatch, caplog, number, error, message):
    sink = files.create("t", "k")

    def refused(*_):
        raise OSError(number, os.strerror(number), "/srv/secret")

    monkeypatch.setattr(os, "write", refused)
    with pytest.raises(StorageUnavailable, match=f"^{message}$") as raised:
        sink.write(b"x")
    assert type(raised.value) is error
    assert os.strerror(number) in caplog.text
    sink.abort()


def test_a_disk_that_is_full_while_a_part_is_put_in_its_place(files, monkeypatch):
    """It is told what it is; when there is room, the part can be sent again."""
    backend, etags = uploaded(files)
    sink = files.part("t", "k", backend, 1, 0, 10)
    sink.write(b"x" * 10)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        patch.setattr(os, "copy_file_range", full, raising=False)
        with pytest.raises(DiskFull):
            sink.finish()
    assert put(files, backend, 1, b"\1" * 10) == etags[0]
    assert files.complete("t", "k", backend, SIZES, etags).size == 23


def test_a_file_that_is_not_there_is_told_with_its_directory_in_the_log(tmp_path, monkeypatch, caplog):
    """Another process may mean another directory by the same relative path."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound, match=r"^there is no file 'k'$"):
        LocalFiles(Path("files")).open("acme", "k")
    assert f"there is no file 'k' of acme in {tmp_path / 'files'}" in caplog.text


def test_what_was_left_behind_goes_with_a_later_file(files, tmp_path):
    left, recent = files.create("t", "left"), files.create("t", "recent")
    names = everything(tmp_path)
    assert len(names) == 2
    for path in tmp_path.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1) if path.name == left.name else None)
    files.create("t", "k").finish()
    assert not any(left.name in name for name in everything(tmp_path))
    recent.finish()
    left.abort()


def test_a_lock_that_another_one_keeps_is_not_waited_for_for_ever(files, tmp_path, monkeypatch):
    """As that of a process which was stopped in the middle."""
    monkeypatch.setattr(disk, "WAIT", 0.05)
    backend, etags = uploaded(files)
    (folder,) = (path.parent for path in tmp_path.rglob("data"))
    held = os.open(folder, os.O_RDONLY)
    late = files.part("t", "k", backend, 1, 0, 10)
    late.write(b"x" * 10)
    fcntl.flock(held, fcntl.LOCK_EX)
    for work in (late.finish, lambda: files.drop("t", "k", backend)):
        with pytest.raises(StorageUnavailable, match="another part"):
            work()
    os.close(held)
    assert files.complete("t", "k", backend, SIZES, etags).size == 23


def test_two_that_write_one_file_at_once_leave_one(files, tmp_path):
    sinks = [files.create("t", "k") for _ in range(8)]
    together = threading.Barrier(8)

    def finish(sink):
        sink.write(b"x" * 1000)
        together.wait(20)
        sink.finish()

    threads = [threading.Thread(target=finish, args=(sink,)) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(everything(tmp_path)) == 2
    files.remove("t", "k")
    assert everything(tmp_path) == []


def test_it_is_known_while_it_is_replaced(files, monkeypatch):
    def put(data):
        sink = files.create("t", "k")
        sink.write(data)
        return sink.finish()

    put(b"old")
    real, between = os.stat, [lambda: put(b"newer")]

    def stat(path, **options):
        if str(path).startswith(hashlib.sha256(b"k").hexdigest()) and between:
            between.pop()()
        return real(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert files.stat("t", "k").size == 5
    assert between == []


def test_an_upload_that_nobody_knows_of_goes_with_a_later_one(tmp_path):
    """Its server was killed between the directory and the row."""
    files = LocalFiles(tmp_path, open_seconds=1_000)
    old, recent, other = files.begin("t", "a", 1, 1), files.begin("t", "b", 1, 1), files.begin("other", "c", 1, 1)
    for path in tmp_path.rglob("open/*"):
        if path.name in (old, other):
            os.utime(path, (1, time.time() - 1_000 - 86_400 - 5))
        else:
            os.utime(path, (1, time.time() - 1_000 - 86_400 + 60))
    files.begin("t", "d", 1, 1)
    names = {path.name for path in tmp_path.rglob("open/*")}
    assert old not in names
    assert {recent, other} < names


def test_not_all_that_was_left_behind_goes_with_one_upload(tmp_path, monkeypatch):
    """Who begins one does not wait until thousands are removed, of which each may have thousands of parts."""
    monkeypatch.setattr(disk, "FEW", 3)
    files = LocalFiles(tmp_path)
    left = {files.begin("t", "a", 1, 1) for _ in range(7)}
    unfinished = [files.create("t", "new") for _ in range(7)]
    old = [path for path in tmp_path.rglob("*") if path.name in left or path.parent.name == "new"]
    for path in old:
        os.utime(path, (1, 1))

    def there(folder):
        return sum(1 for path in old if path.parent.name == folder and path.exists())

    for now in ((4, 4), (1, 1), (0, 0)):
        files.begin("t", "b", 1, 1)
        assert (there("open"), there("new")) == now
    for sink in unfinished:
        sink.abort()


def test_a_completion_that_was_broken_off_leaves_no_bytes_when_it_is_given_up(files, tmp_path, monkeypatch):
    """As where the disk is full just when the bytes have got their name."""
    backend, etags = uploaded(files)

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        with pytest.raises(DiskFull):
            files.complete("t", "k", backend, SIZES, etags)
    assert files.stat("t", "k") is None
    files.drop("t", "k", backend)
    assert everything(tmp_path) == []
    with pytest.raises(UploadOver):
        files.complete("t", "k", backend, SIZES, etags)


def test_what_is_told_of_a_file_leaves_nothing_where_it_cannot_be_written(files, tmp_path, monkeypatch):
    """Or each try on a full disk would leave a file there."""
    backend, etags = uploaded(files)
    before, sink = everything(tmp_path), files.part("t", "k", backend, 1, 0, 10)
    sink.write(b"\1" * 10)

    def full(*_args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_all", full)
        with pytest.raises(DiskFull):
            sink.finish()
        with pytest.raises(InvalidInput, match="part 1 was not uploaded"):
            files.complete("t", "k", backend, SIZES, etags)
    assert everything(tmp_path) == [name for name in before if not name.endswith("/part-1")]
    put(files, backend, 1, b"\1" * 10)
    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_all", full)
        with pytest.raises(DiskFull):
            files.complete("t", "k", backend, SIZES, etags)
    assert not [name for name in everything(tmp_path) if "/new/" in name]
    assert files.complete("t", "k", backend, SIZES, etags).size == 23


def test_a_file_that_became_shorter_is_not_copied_for_ever(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "copy_file_range")
    with (tmp_path / "a").open("w+b") as source, (tmp_path / "b").open("w+b") as target:
        source.write(b"12345")
        source.flush()
        with pytest.raises(OSError, match="shorter"):
            disk.copy(source.fileno(), target.fileno(), 0, 6)


def test_descriptors_are_given_back(files):
    def count():
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    backend, etags = uploaded(files)
    before = count()
    for _ in range(3):
        files.part("t", "k", backend, 1, 0, 10).abort()
        put(files, backend, 1, b"\1" * 10)
        with pytest.raises(InvalidInput):
            files.complete("t", "k", backend, SIZES, ["", "", ""])
        files.create("t", "f").finish()
        files.open("t", "f").close()
        files.stat("t", "f")
    files.complete("t", "k", backend, SIZES, etags)
    assert count() == before
