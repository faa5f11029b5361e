"""Texts in MySQL and MariaDB that compare by code point, trailing blanks included.

`utf8mb4_bin` pads with blanks in both, so that "a" and "a " would be one unique id. MariaDB's collation without padding is
unknown to MySQL and the other way round: which one is meant is decided when a statement is made, and so after the first
connection told what the server is.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from sqlalchemy import VARCHAR, Dialect, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

MYSQL: Final = ("mysql", "mariadb")
"""What SQLAlchemy calls the two, by the URL and not by the server."""


def collation(dialect: Dialect) -> str:
    """The server's collation by code point, without padding."""
    return "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"


# Not the types of SQLAlchemy's dialect for MySQL: that is 1 MB of memory where another database is used.


class MediumText(Text):
    """Up to 16 MB: the texts of a job go up to 10,000 characters, an error's further."""

    sql = "MEDIUMTEXT"


class LongText(Text):
    """Up to 4 GB."""

    sql = "LONGTEXT"


class Word(VARCHAR):
    """Short enough for an index."""

    sql = "VARCHAR"


@compiles(MediumText, *MYSQL)
@compiles(LongText, *MYSQL)
@compiles(Word, *MYSQL)
def _text(element: Any, compiler: Any, **_: Any) -> str:
    length = f"({element.length})" if isinstance(element, Word) else ""
    return f"{element.sql}{length} CHARACTER SET utf8mb4 COLLATE {collation(compiler.dialect)}"


class exact(FunctionElement[str]):  # noqa: N801 - stands in an expression like a function
    """A text that no column gives, compared as one of a column: by code point."""

    type = Text()
    inherit_cache = True


@compiles(exact)
def _exact(element: Any, compiler: Any, **options: Any) -> str:
    return f"({compiler.process(element.clauses, **options)} COLLATE {collation(compiler.dialect)})"


def digest(*texts: str) -> bytes:
    """What `digest_sql` makes of these texts."""
    return hashlib.sha256("\0".join(texts).encode()).digest()


def digest_sql(*columns: str) -> str:
    """32 bytes that stand in an index for texts of any length: keys of InnoDB end at 3,072 bytes. Null where one is null.

    Texts hold no NUL (`gnj.queue.values`), so that no two lists of texts are joined to the same one.
    """
    text = columns[0] if len(columns) == 1 else f"CONCAT({', CHAR(0 USING utf8mb4), '.join(columns)})"
    return f"UNHEX(SHA2({text}, 256))"
