"""How values are kept: column types that read alike from every database.

Times are aware UTC in whole milliseconds; JSON comes back as it was given, down to whether a number is an int or a float.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BINARY,
    BigInteger,
    ColumnElement,
    Dialect,
    Double,
    Integer,
    Interval,
    LargeBinary,
    Text,
    TypeDecorator,
    cast,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import TypeEngine, UserDefinedType

from gnj.queue.model import Kind
from gnj.queue.values import Json, dump_json, load_json
from gnj.storage.sql.columns_mysql import MYSQL, LongText, MediumText, Word

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_milliseconds(moment: datetime) -> int:
    """Milliseconds since the epoch."""
    return (moment - _EPOCH) // _MILLISECOND


def plain(value: Any) -> Any:
    """`value` as drivers take it: an enum's member is its value."""
    return value.value if isinstance(value, Enum) else value


class _Milliseconds(TypeDecorator[datetime]):
    """A time as milliseconds since the epoch: sorts and compares as a number, and no text format can creep in."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_milliseconds(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(milliseconds=value)


class _Timestamp(TypeDecorator[datetime]):
    """`timestamptz(3)`, in UTC whatever the session's time zone."""

    impl = TIMESTAMP(timezone=True, precision=3)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)


class _Delay(TypeDecorator[timedelta]):
    """What is added to a time kept in milliseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        return None if value is None else value // _MILLISECOND


class _Float(TypeDecorator[float]):
    """A float, also where it is whole: RETURNING gives on SQLite the parameter as it was, and 0 for a stored 0.0."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None else float(value)


class _JsonText(TypeDecorator[Json]):
    """JSON as its compact text."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(LongText() if dialect.name in MYSQL else Text())

    def process_bind_param(self, value: Json, dialect: Dialect) -> str | None:
        return None if value is None else dump_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Json:
        return None if value is None else load_json(value)


class _Jsonb(UserDefinedType[Json]):
    """`jsonb`, exchanged as text: no driver's own JSON conversion (nor a host's setting for it) takes part."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSONB"

    def bind_processor(self, dialect: Dialect) -> Callable[[Json], str | None]:
        return dump_jsonb

    def bind_expression(self, bindvalue: Any) -> ColumnElement[Any]:
        return cast(bindvalue, JSONB)

    def column_expression(self, colexpr: Any) -> ColumnElement[Any]:
        return type_coerce(cast(colexpr, Text), self)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Json]:
        return load_jsonb


_STRING_OR_LARGE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9.]+e\+[0-9]+')


def dump_jsonb(value: Json) -> str | None:
    """The text from which jsonb keeps `value` whole.

    jsonb turns 1e+23 into the integer 10**23, which is not the float's value (99999999999999991611392) and reads back as
    an int. So floats that Python spells with an exponent go in as all their digits and ".0"; smaller ones are safe.
    """
    if value is None:
        return None
    text = dump_json(value)
    return _STRING_OR_LARGE.sub(_whole, text) if "e+" in text else text


def _whole(match: re.Match[str]) -> str:
    text = match[0]
    return text if text.startswith('"') else f"{int(float(text))}.0"


def load_jsonb(text: str | None) -> Json:
    """The value of a jsonb's text."""
    return None if text is None else load_json(text)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _from_milliseconds(value: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=value)


FROM_POSTGRESQL: Mapping[Kind, Callable[[Any], Any]] = MappingProxyType({Kind.TIME: _utc, Kind.JSON: load_json})
FROM_SQLITE: Mapping[Kind, Callable[[Any], Any]] = MappingProxyType(
    {Kind.TIME: _from_milliseconds, Kind.JSON: load_json, Kind.BOOL: bool, Kind.FLOAT: float}
)
"""What makes of a driver's values, other than None, those of attributes, by their kinds; as the types below do."""


def number(value: float) -> str:
    """An int or float as the text whose exact decimal value compares like the number itself with what jsonb keeps."""
    return str(int(value)) if isinstance(value, int) or abs(value) >= 1e16 else repr(value)


TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql").with_variant(MediumText(), *MYSQL)
"""Text ordered by code point everywhere."""
WORD: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql").with_variant(Word(40), *MYSQL)
"""Likewise, for words of gnj's own: MySQL has whole columns in an index only where they are short."""
DIGEST: TypeEngine[bytes] = LargeBinary().with_variant(BINARY(32), *MYSQL)
"""What stands in a MySQL index for a text of any length."""
ID: TypeEngine[int] = BigInteger()
FLOAT: TypeEngine[float] = _Float()
KEY: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
"""A primary key: SQLite numbers rows by itself only where the type is exactly INTEGER."""
TIME: TypeEngine[datetime] = _Milliseconds().with_variant(_Timestamp(), "postgresql")
DELAY: TypeEngine[timedelta] = Interval().with_variant(_Delay(), *MYSQL)
"""What is added to a TIME of the database's own."""
JSON: TypeEngine[Json] = _JsonText().with_variant(_Jsonb(), "postgresql")
