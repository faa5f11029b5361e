"""How strings are written: words, addresses, phone numbers, currencies, percentages."""

from typing import Any

import pytest

from gnj.transform.errors import RecordRejected
from gnj.transform.formats import compile_format
from tests.transform import converting
from tests.transform.converting import NOTHING


def converted(attribute, given, **options):
    format = compile_format({"X": {"type": "string", "attributes": [attribute]}}, **options)
    return converting.converted(format, given)


CONVERTED: dict[str, list[tuple[Any, str]]] = {
    "capitalized": [
        ("hello wORLD", "Hello WORLD"),
        ("  two  blanks\tand\nlines", "  Two  Blanks\tAnd\nLines"),
        ("élan o'neill 3d", "Élan O'neill 3d"),
        ("ßa ǆa", "Ssa ǅa"),
        ("(new) 'x' ¿qué? _a -", "(New) 'X' ¿Qué? _A -"),
    ],
    "email": [
        ("John.Doe@Example.COM", "John.Doe@example.com"),
        (" a@b.co ", "a@b.co"),
        ("jörg@müller.de", "jörg@müller.de"),
        ("a+tag@sub.example.org", "a+tag@sub.example.org"),
    ],
    "url": [
        ("example.com", "https://example.com"),
        ("www.example.com/a?b=c#d", "https://www.example.com/a?b=c#d"),
        ("http://example.com", "http://example.com"),
        ("HTTPS://Example.com/A", "https://Example.com/A"),
        ("//cdn.example.com/i.jpg", "https://cdn.example.com/i.jpg"),
        ("example.com:8080/x", "https://example.com:8080/x"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://example.com/a picture.jpg", "https://example.com/a%20picture.jpg"),
        ("1.2.3.4/x", "https://1.2.3.4/x"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("https://müller.de/ü", "https://müller.de/ü"),
        ("https://a-b.example.co.uk/%C3%BC?q=\\", "https://a-b.example.co.uk/%C3%BC?q=\\"),
    ],
    "phoneNumber": [
        ("2025550123", "(202) 555-0123"),
        (2025550123, "(202) 555-0123"),
        ("1-202-555-0123", "(202) 555-0123"),
        ("+1 (202) 555 0123", "(202) 555-0123"),
        ("202.555.0123 x12", "(202) 555-0123 ext. 12"),
        ("(555) 123-4567", "(555) 123-4567"),
        ("+49 30 123456", "+49 30 123456"),
        ("+44 20 7946 0958", "+44 20 7946 0958"),
        ("604-250-1234", "+1 604-250-1234"),
    ],
    "currency": [
        ("usd", "USD"),
        (" EUR ", "EUR"),
        ("$", "USD"),
        ("US$", "USD"),
        ("€", "EUR"),
        ("£", "GBP"),
        ("¥", "JPY"),
        ("A$", "AUD"),
        ("zł", "PLN"),
        ("₽", "RUB"),
        ("US Dollar", "USD"),
        ("us dollars", "USD"),
        ("Euros", "EUR"),
        ("british pound", "GBP"),
        ("Swiss Franc", "CHF"),
    ],
    "percentage": [
        (0.5, "50%"),
        ("0.5", "50%"),
        (1, "1%"),
        ("1", "1%"),
        (50, "50%"),
        ("50%", "50%"),
        ("12.50 %", "12.50%"),
        ("0.5%", "0.5%"),
        (0.07, "7%"),
        (0.125, "12.5%"),
        (1 / 3, "33.3333333333%"),
        (0, "0%"),
        (-0.5, "-50%"),
        (-3, "-3%"),
        ("-0.0", "0%"),
        ("1,000", "1000%"),
        ("1e-3", "0.1%"),
    ],
}
REFUSED: dict[str, list[Any]] = {
    "email": ["a", "a@b", "@example.com", "a@b@c.de", "a b@c.de", "a@localhost", "a@-b.de", "mailto:a@b.de", "a@\ud800.de", "a" * 400],
    "url": ["hello", "not a url", "/a.jpg", "ftp://example.com", "javascript:alert(1)", "mailto:a@b.com", "data:text/html,x", "https://", "https://a..b", "http://-a.com", "https://u:p@example.com", "http://[::1]x", "http://[x]/", "http://a.com:x", "12.50", "example.com\n/x", "https://exa mple.com", "https://example.com\\@b.com", "https://1.2.3.999", "https:" + "/" * 9000, "http://�.com"],
    "phoneNumber": ["phone", "555-1234", "911", "12", "1" * 30, "2" * 101, "+999 123 4567"],
    "currency": ["dollar", "kr", "XXX", "usdx", "12.50", "$5", "¤", "u" * 101],
    "percentage": ["half", "%", "50%%", "% 50", "1.2.3", "1e20", "nan%", "inf", "0.5.", True, "9" * 50],
}  # fmt: skip
ALL = [*CONVERTED]


@pytest.mark.parametrize("attribute", CONVERTED)
def test_strings_are_written_as_they_should_be_and_stay_so(attribute):
    for given, wanted in CONVERTED[attribute]:
        assert converted(attribute, given) == wanted
        assert converted(attribute, wanted) == wanted


@pytest.mark.parametrize("attribute", REFUSED)
def test_strings_that_cannot_be_written_so_reject_the_record(attribute):
    assert [given for given in [*REFUSED[attribute], " ", [1], {}] if converted(attribute, given) is not None] == []


@pytest.mark.parametrize("attribute", ALL)
def test_what_is_missing_stays_missing(attribute):
    assert [converted(attribute, given) for given in NOTHING] == ["", "", ""]


def test_reasons_say_what_would_be_right():
    def reason(attribute, given):
        with pytest.raises(RecordRejected) as rejected:
            compile_format({"X": {"type": "string", "attributes": [attribute]}}).convert({"X": given})
        return rejected.value.reasons[0]

    assert reason("email", "a") == "X must be an e-mail address, not 'a'"
    assert reason("url", "ftp://a.de") == "X must be a URL of http or https, not 'ftp://a.de'"
    assert reason("url", "a" * 9_000) == "X must have at most 8,192 characters, not 9,000"
    assert reason("phoneNumber", "555-1234") == "X must be a phone number, with its area code, not '555-1234'"
    assert reason("currency", "kr") == "X must be a currency, such as USD, $ or US Dollar, not 'kr'"
    assert reason("percentage", "half") == "X must be a percentage, such as 50% or 0.5, not 'half'"


def test_phone_numbers_of_another_region():
    assert converted("phoneNumber", "030 123456", region="DE") == "030 123456"
    assert converted("phoneNumber", "+49 30 123456", region="DE") == "030 123456"
    assert converted("phoneNumber", "+1 202 555 0123", region="DE") == "+1 202-555-0123"


def test_words_are_raised_before_a_string_is_written():
    both = compile_format({"X": {"type": "string", "attributes": ["url", "capitalized"]}})
    assert both.convert({"X": "example.com"}) == {"X": "https://Example.com"}


def test_every_currency_is_found_by_its_code():
    from babel import Locale

    codes = [str(code) for code in Locale("en").currencies if code != "XXX"]
    format = compile_format({"X": {"type": "string", "attributes": ["currency"]}})
    assert [code for code in codes if format.convert({"X": code.lower()})["X"] != code] == []
