"""Zips that nobody trusts: what is read as the standard library writes it, and what is refused."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnj.content import zips
from gnj.content.zips import BadMember, BadZip, members
from gnj.settings_content import ContentLimits

LIMITS = ContentLimits()
MIB = 1024 * 1024
RANDOM = random.Random(1).randbytes(300_000)


def made(files, method=zipfile.ZIP_DEFLATED, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method, **options) as zip:
        for name, data in files.items():
            zip.writestr(name, data)
    return stream.getvalue()


def read(data, limits=LIMITS, begin=0):
    """What each member is or why not."""
    found: dict[str, Any] = {}
    for member in members(io.BytesIO(data), limits, begin=begin):
        if member.problem is not None:
            found[member.path] = member.problem
            continue
        try:
            found[member.path] = b"".join(member.read())
        except BadMember as error:
            found[member.path] = str(error)
    return found


def field(data, name, offset, value, form="<L"):
    """The directory's entry of that name, changed."""
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()) + 1)
    changed = bytearray(data)
    struct.pack_into(form, changed, at + offset, value)
    return bytes(changed)


CRC, PACKED, SIZE, ATTRIBUTES, OFFSET = 16, 20, 24, 38, 42


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_come_in_order_and_folders_do_not(method):
    files = {"s1/": b"", "s1/a.txt": b"a" * 100, "s1/b/": b"", "s1/b/ż.bin": RANDOM, "s2/empty": b""}
    data = made(files, method)
    assert read(data) == {"s1/a.txt": b"a" * 100, "s1/b/ż.bin": RANDOM, "s2/empty": b""}
    assert [(member.index, member.size) for member in members(io.BytesIO(data), LIMITS)] == [
        (1, 100),
        (3, 300_000),
        (4, 0),
    ]
    assert list(read(data, begin=3)) == ["s1/b/ż.bin", "s2/empty"]
    assert read(data, begin=5) == {}


def test_a_stream_that_was_written_to_without_seeking_and_a_comment():
    stream = io.BytesIO()

    class Unseekable(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return stream.write(data)

    with zipfile.ZipFile(Unseekable(), "w", zipfile.ZIP_DEFLATED) as zip:
        zip.writestr("s/a", RANDOM)
        zip.comment = b"PK\x05\x06" + b"x" * 100
    assert read(stream.getvalue()) == {"s/a": RANDOM}


def test_large_numbers_of_zip64():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zip, zip.open("s/a", "w", force_zip64=True) as file:
        file.write(RANDOM)
    assert read(stream.getvalue()) == {"s/a": RANDOM}
    # as a writer has it that always keeps them there
    at = stream.getvalue().rindex(b"PK\x01\x02")
    entry = bytearray(stream.getvalue()[at : stream.getvalue().rindex(b"PK\x05\x06")])
    packed, size = struct.unpack_from("<2L", entry, PACKED)
    struct.pack_into("<3L", entry, PACKED, 0xFFFFFFFF, 0xFFFFFFFF, struct.unpack_from("<L", entry, 28)[0])
    struct.pack_into("<H", entry, 30, 28)
    struct.pack_into("<L", entry, OFFSET, 0xFFFFFFFF)
    entry = entry[:49] + struct.pack("<2H3Q", 1, 24, size, packed, 0)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(entry), at)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at + len(entry), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert read(stream.getvalue()[:at] + entry + end64 + locator + end) == {"s/a": RANDOM}


def many(count):
    """A zip of so many empty files: quicker than the standard library."""
    names = [f"s/{n:06}".encode() for n in range(count)]
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 8, 0)
    entry = struct.pack("<4s6H3L5H", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0)
    directory = b"".join(entry + struct.pack("<2L", 0, 38 * n) + name for n, name in enumerate(names))
    place, size, told = 38 * count, len(directory), count
    end = b""
    if count > 0xFFFF:
        end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, place)
        end += struct.pack("<4sLQL", b"PK\x06\x07", 0, place + size, 1)
        told = 0xFFFF
    end += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, told, told, size, place, 0)
    return b"".join([*(head + name for name in names), directory, end])


@pytest.mark.parametrize("count", [65_535, 65_536])
def test_many_members(count):
    data = many(count)
    found = list(members(io.BytesIO(data), LIMITS, begin=count - 1))
    assert [(member.path, member.problem) for member in found] == [(f"s/{count - 1:06}", None)]
    with pytest.raises(BadZip, match="65,534 is the most"):
        read(data, ContentLimits(members=65_534))


def test_memory_is_bounded_by_the_directory():
    data = many(5_000)
    tracemalloc.start()
    found = sum(1 for member in members(io.BytesIO(data), LIMITS) if member.problem is None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == 5_000
    assert peak < 5_000 * 400


def test_a_bomb_is_not_unpacked_and_one_that_lies_no_further_than_it_says():
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(100)) + packer.flush()
    data = made({"s/bomb": b""}, zipfile.ZIP_STORED)
    head = data[: data.index(b"s/bomb") + 6]
    rest = data[data.index(b"PK\x01\x02") :]
    honest = b"".join([head, packed, rest])
    honest = struct.pack("<H", 8).join([honest[:8], honest[10:]])
    for name, offset, value, form in (
        ("s/bomb", 10, 8, "<H"),
        ("s/bomb", PACKED, len(packed), "<L"),
        ("s/bomb", SIZE, 100 * MIB, "<L"),
    ):
        honest = field(honest, name, offset, value, form)
    end = bytearray(honest)
    struct.pack_into("<L", end, honest.rindex(b"PK\x05\x06") + 16, len(head) + len(packed))
    honest = bytes(end)
    assert read(honest) == {"s/bomb": "it is more than 200 times larger than packed"}
    liar = field(honest, "s/bomb", SIZE, 1000)
    tracemalloc.start()
    found = read(liar)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == {"s/bomb": "it has more than the 1,000 bytes that the zip says"}
    assert peak < 2 * MIB
    assert list(read(honest, ContentLimits(ratio=2_000)).values()) == ["it is damaged: its checksum differs"]


def test_bounds_of_a_member_and_of_all():
    data = made({f"s/{n}": RANDOM for n in range(3)} | {"s/small": b"x"})
    told = read(data, ContentLimits(member=299_999))
    assert told["s/0"] == "it has 300,000 bytes, and 299,999 is the most"
    assert told["s/small"] == b"x"
    told = read(data, ContentLimits(archive=700_000))
    assert told["s/1"] == RANDOM
    assert told["s/2"] == "all files before it and this one have more than 700,000 bytes"
    assert told["s/small"] == b"x"
    assert read(data, ContentLimits(archive=700_000), begin=2) == {name: told[name] for name in ("s/2", "s/small")}


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({SIZE: 99_999}, "it has more than the 99,999 bytes"),
        ({SIZE: 100_001}, "it has 100,000 bytes, and not the 100,001"),
        ({CRC: 5}, "its checksum differs"),
        ({PACKED: 10_000}, "its end is missing"),
        ({OFFSET: 3}, "it is not where the zip says|lies over another"),
        ({OFFSET: 10_000_000}, "lies over another file, or outside"),
        ({PACKED: 10_000_000}, "lies over another file, or outside"),
        ({8: 1}, "it is encrypted"),
        ({10: 12}, "method 12"),
        ({10: 0}, "it is not packed, and has two sizes"),
        ({ATTRIBUTES: 0o120777 << 16}, "it is a symbolic link"),
        ({ATTRIBUTES: 0o020666 << 16}, "it is no regular file"),
    ],
)
def test_what_lies_is_damaged_or_is_no_file(changes, problem):
    data = made({"s/first": b"x", "s/a": RANDOM[:50_000].hex().encode(), "s/last": b"y"})
    for offset, value in changes.items():
        data = field(data, "s/a", offset, value, "<H" if offset < CRC else "<L")
    found = read(data)
    assert isinstance(found["s/a"], str)
    assert any(each in found["s/a"] for each in problem.split("|")), found["s/a"]
    assert (found["s/first"], found["s/last"]) == (b"x", b"y") or OFFSET in changes or PACKED in changes


def test_members_that_lie_over_one_another():
    data = made({f"s/{n}": RANDOM for n in range(3)})
    data = field(data, "s/2", OFFSET, 0)
    found = read(data)
    assert sum(value == RANDOM for value in found.values()) == 2
    assert any("lies over another file" in str(value) for value in found.values())


def test_a_name_that_differs_at_the_place():
    data = made({"s/one": b"1", "s/two": b"2"}).replace(b"s/two", b"s/tww", 1)
    assert read(data) == {"s/one": b"1", "s/two": "it is another file at its place than in the directory of the zip"}


@pytest.mark.parametrize(
    "name, problem",
    [
        ("../s/a", "must be relative"),
        ("/s/a", "must be relative"),
        ("s/../../a", "must be relative"),
        ("s//a", "must be relative"),
        ("s/./a", "must be relative"),
        ("s\\a", "backslash"),
        ("s/a\nb", "control characters"),
        ("s/\u202egpj.exe", "turn the direction"),
        ("s/\u2067gpj.exe", "turn the direction"),
        ("s/" + "x" * 1_023, "limited to 1,024"),
    ],
)
def test_paths_that_are_refused(name, problem):
    (found,) = read(made({name: b"x"})).values()
    assert problem in found


def test_a_path_that_is_too_long_is_not_brought_into_nfc(monkeypatch):
    """Marks out of their order are sorted one by one: 32,000 of them take 8 s, in which no other thread runs."""
    real, seen = unicodedata.normalize, []

    def normalize(form, text):
        seen.append(len(text))
        return real(form, text) if len(text) <= zips.PATH else text

    names = ["s/" + "\u0301\u0323" * 16_000, "s/" + "é" * (zips.PATH - 2), "s/" + "é" * (zips.PATH - 1)]
    data = made(dict.fromkeys(names, b"x"))
    with monkeypatch.context() as patch:
        patch.setattr(unicodedata, "normalize", normalize)
        found = read(data)
    long = "its path is limited to 1,024 characters"
    assert list(found.values()) == [long, b"x", long]
    assert max(seen) <= zips.PATH


def test_paths_are_compared_in_nfc_and_old_names_are_read():
    data = made({"s/z\u0307": b"1", "s/\u017c": b"2"})
    assert [member.path for member in members(io.BytesIO(data), LIMITS)] == ["s/\u017c", "s/\u017c"]
    old = made({"s/abc": b"x"}).replace(b"s/abc", b"s/\x84bc")
    assert list(read(old)) == ["s/äbc"]
    apple = made({"s/abc": b"x"}).replace(b"s/abc", "s/żc".encode())
    assert list(read(apple)) == ["s/żc"]
    wrong = made({"s/\u017c": b"x"}).replace("s/ż".encode(), b"s/\xff\xff")
    assert list(read(wrong).values()) == ["its path is not UTF-8, as it says"]
    assert list(read(made({"s/\u200eIMG-1.jpg": b"x"}))) == ["s/\u200eIMG-1.jpg"]  # as phones name them


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "no zip"),
        (b"[]", "no zip"),
        (made({"a": b"x"})[:-1], "no zip"),
        (made({"a": b"x"}) + b"x", "no zip"),
        (b"x" + made({"a": b"x"}), "not where its end says"),
        (made({"a": b"x"}).replace(b"PK\x01\x02", b"PK\x01\x03"), "damaged"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 5, 5, 0, 0, 0), "says that it has 5 files, and has 0"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 1, 0, 5, 5, 0, 0, 0), "several parts"),
        (b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 5, 5, 10, 0xFFFFFFFF, 0), "not where its end says"),
    ],
)
def test_what_is_no_zip(data, reason):
    with pytest.raises(BadZip, match=reason):
        read(data)


def test_an_empty_zip():
    assert read(made({})) == {}


def test_a_directory_that_is_too_large():
    data = made({"a": b"x"})
    at = data.index(b"PK\x01\x02")
    entry = data[at : data.index(b"PK\x05\x06")]
    large = entry[:30] + struct.pack("<2H", 500, 0) + entry[34:] + b"x" * 500
    end = data[data.index(b"PK\x05\x06") :]
    end = end[:12] + struct.pack("<2L", len(large), at) + end[20:]
    assert read(data[:at] + large + end) == {"a": b"x"}
    with pytest.raises(BadZip, match="547 bytes, which is too much"):
        read(data[:at] + large + end, ContentLimits(members=1))


ZIP = made({"s/a": b"hello " * 50, "s/b/": b"", "s/b/c": RANDOM[:200]})


@given(st.lists(st.tuples(st.integers(0, len(ZIP) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_whatever_is_changed_it_is_read_or_refused(changes):
    data = bytearray(ZIP)
    for at, value in changes:
        data[at] = value
    try:
        found = read(bytes(data))
    except BadZip:
        return
    for value in found.values():
        assert isinstance(value, str) or len(value) <= 100_000
