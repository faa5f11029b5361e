"""Dates and times: what is read, what is incomplete, and zones."""

from typing import Any

import pytest

from gnj.transform.errors import RecordRejected
from gnj.transform.formats import compile_format
from tests.transform import converting
from tests.transform.converting import NOTHING

FORMATS = {
    each: compile_format({"X": {"type": "string", "attributes": [each]}}) for each in ("date", "time", "datetime")
}


def converted(attribute, given):
    return converting.converted(FORMATS[attribute], given)


CONVERTED: dict[str, list[tuple[Any, str]]] = {
    "date": [
        ("2024-01-15", "2024-01-15"),
        (" 01/15/2024 ", "2024-01-15"),
        ("01/02/2024", "2024-01-02"),
        ("13/01/2024", "2024-01-13"),
        ("15.01.2024", "2024-01-15"),
        ("Jan 15, 2024", "2024-01-15"),
        ("15th of January 2024", "2024-01-15"),
        ("Monday, January 15, 2024", "2024-01-15"),
        ("2024/1/5", "2024-01-05"),
        ("20240115", "2024-01-15"),
        (20240115, "2024-01-15"),
        ("2024-02-29", "2024-02-29"),
        ("2024-01-15 10:30", "2024-01-15"),
        ("2024-01-15T23:30:00-05:00", "2024-01-16"),
        ("Mon, 15 Jan 2024 23:30:00 EST", "2024-01-16"),
        ("0001-01-01", "0001-01-01"),
        # Centuries are the same in every year that reads them.
        ("1/2/68", "2068-01-02"),
        ("1/2/69", "1969-01-02"),
        ("01/15/24", "2024-01-15"),
        ("15 Jan 24", "2024-01-15"),
        ("2024/15/01", "2024-01-15"),
        ("2024.15.1 10:30", "2024-01-15"),
        # XML Schema gives a date a zone: it stays the day that it is there.
        ("2024-01-15Z", "2024-01-15"),
        ("2024-01-15+05:00", "2024-01-15"),
        ("2024-01-15-05:00", "2024-01-15"),
    ],
    "datetime": [
        ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z"),
        ("2024-01-15 10:30", "2024-01-15T10:30:00Z"),
        ("2024-01-15", "2024-01-15T00:00:00Z"),
        ("January 15, 2024", "2024-01-15T00:00:00Z"),
        ("01/15/2024 3:30 PM", "2024-01-15T15:30:00Z"),
        ("2024-01-15T10:30:00+02:00", "2024-01-15T08:30:00Z"),
        ("2024-01-15T10:30:00.123Z", "2024-01-15T10:30:00Z"),
        ("Mon, 15 Jan 2024 10:30:00 GMT", "2024-01-15T10:30:00Z"),
        ("Jan 15 2024 10:30 PST", "2024-01-15T18:30:00Z"),
        ("20240115103000", "2024-01-15T10:30:00Z"),
        ("202401151030", "2024-01-15T10:30:00Z"),
        ("20240115T103000Z", "2024-01-15T10:30:00Z"),
        ("2024-01-15T10:30:59.999999999", "2024-01-15T10:30:59Z"),
        ("2024-01-15+05:00", "2024-01-14T19:00:00Z"),
        # East of Greenwich is +, whatever stands before it.
        ("Mon Jan 15 2024 10:30:00 GMT+0300", "2024-01-15T07:30:00Z"),
        ("Mon Jan 15 2024 10:30:00 GMT+0100 (Central European Standard Time)", "2024-01-15T09:30:00Z"),
        ("Mon Jan 15 2024 10:30:00 GMT-0500 (Eastern Standard Time)", "2024-01-15T15:30:00Z"),
        ("2024-01-15 10:30 UTC+03:00", "2024-01-15T07:30:00Z"),
        ("2024-01-15T10:30:00 UTC-5", "2024-01-15T15:30:00Z"),
        ("2024-01-15 10:30 UTC+530", "2024-01-15T05:00:00Z"),
        ("Mon, 15 Jan 2024 10:30:00 +0000 (UTC)", "2024-01-15T10:30:00Z"),
        ("Mon Jan 15 10:30:00 EST 2024", "2024-01-15T15:30:00Z"),
        ("10:30 15 Jan 2024 +0200", "2024-01-15T08:30:00Z"),
        ("10:30 15 Jan 2024 GMT+1", "2024-01-15T09:30:00Z"),
        ("2024-01-15 10:30:00 +0200 UTC", "2024-01-15T08:30:00Z"),
        ("2024-1-15 9:5", "2024-01-15T09:05:00Z"),
        ("20240115 1030", "2024-01-15T10:30:00Z"),
        ("2024-01-15 10:30 +1400", "2024-01-14T20:30:00Z"),
        # A span of hours is not written so.
        ("2024-01-15T10:30-05:00", "2024-01-15T15:30:00Z"),
        ("2024-01-15 10:30:00-05", "2024-01-15T15:30:00Z"),
        ("2024-01-15 10:30-05:00", "2024-01-15T15:30:00Z"),  # it would be over before it begins
        ("2024-01-15T10", "2024-01-15T10:00:00Z"),
        ("2024-01-15T10Z", "2024-01-15T10:00:00Z"),
        ("20240115T10+0200", "2024-01-15T08:00:00Z"),
        ("2024-01-15 10:30 -05:00", "2024-01-15T15:30:00Z"),
    ],
    "time": [
        ("10:30", "10:30:00"),
        ("10:30:15", "10:30:15"),
        ("3:30 PM", "15:30:00"),
        ("3pm", "15:00:00"),
        ("12 am", "00:00:00"),
        ("10:30:15.5", "10:30:15"),
        ("23:30:00-05:00", "04:30:00"),
        ("19:30-05:00", "00:30:00"),
        ("01:00 +02:00", "23:00:00"),
        ("2024-01-15T10:30:00Z", "10:30:00"),
        ("Monday 10:30", "10:30:00"),
        ("T10:30", "10:30:00"),
        ("10h30", "10:30:00"),
        ("22:15 GMT+2", "20:15:00"),
        ("10:30 UTC-05:00", "15:30:00"),
        ("Mon Jan 15 2024 10:30:00 GMT+0300 (Moscow Standard Time)", "07:30:00"),
    ],
}
NEVER: list[Any] = [
    "not a date", "tomorrow", "2024-02-30", "31/31/2024", "99", "1705312200", "1705312200000", "240115", "1e999", "nan", " ", "-",
    "2024-01-15 25:00", "2024-01-15 10:00 XYZ", "Jan 15 2024 at the latest", "2024-01-15" * 11, "2024-W03-1", 1705312200, 0.5, True, [1], {},
    "2024-01-15, 2024-01-16", "2024-01-15 2024-01-16 10:30", "2024-01-15/16", "Jan 15-16 2024", "Jan 15 and Feb 16 2024", "Mon Tue Jan 16 2024",
    "2024-01-15 10:00-18:00", "2024-01-15 10:00-12:00", "2024-01-15 10:00 18:00", "2024-01-15 10:00 - 18:00", "2024-01-15 10am-6pm", "10:00 18",
    "2024-01-15 10:30 +14:01", "2024-01-15T10:30+18:00", "2024-01-15 10:30 +05:75", "2024-01-15T10:30+05:75", "2024-01-15+15:00",
    "2024-01-15 10:30 EST-0500", "24 7 365", "24 7 65", "1.2.3", "365/24/7", "2024/13/13", "2024-15-01", "-2024-01-15"
]  # fmt: skip
REFUSED: dict[str, list[Any]] = {
    "date": [
        *NEVER,
        "January 2024",
        "Jan 15",
        "2024",
        "2024-01",
        "Monday",
        "10:30",
        "Feb 29",
        "0001-01-01T00:00:00+05:00",
    ],
    "datetime": [*NEVER, "January 2024", "Jan 15 10:30", "10:30", "Monday 10:30", "9999-12-31T23:59:00-05:00"],
    "time": [
        *NEVER,
        "15",
        "2024-01-15",
        "January",
        "25:00",
        "10:61",
        "noon",
        "10:00-18:00",
        "10:00-12:00",
        "10:00-12",
        "10:00 18:00",
        "10am-6pm",
    ],
}


@pytest.mark.parametrize("attribute", CONVERTED)
def test_times_are_written_as_iso_8601_and_stay_so(attribute):
    for given, wanted in CONVERTED[attribute]:
        assert converted(attribute, given) == wanted, given
        assert converted(attribute, wanted) == wanted


@pytest.mark.parametrize("attribute", REFUSED)
def test_times_that_cannot_be_told_reject_the_record(attribute):
    assert [given for given in REFUSED[attribute] if converted(attribute, given) is not None] == []


@pytest.mark.parametrize("attribute", CONVERTED)
def test_what_is_missing_stays_missing(attribute):
    assert [converted(attribute, given) for given in NOTHING] == ["", "", ""]


def test_reasons_tell_what_is_lacking():
    def reason(attribute, given):
        with pytest.raises(RecordRejected) as rejected:
            FORMATS[attribute].convert({"X": given})
        return rejected.value.reasons[0]

    assert reason("date", "soon") == "X must be a date, not 'soon'"
    assert reason("date", "May 2024") == "X must be a whole date, with year, month and day, not 'May 2024'"
    assert reason("time", "2024-01-15") == "X must have an hour, as in 14:30, not '2024-01-15'"
    assert reason("datetime", "10:30") == "X must be a whole date and time, with year, month and day, not '10:30'"
