"""The grammar of transforms: from a text to a chain of calls, and back.

    chain      = ( "value" | call ) { "." call } [ comparison ]
    call       = name "(" [ argument { "," argument } ] ")"
    argument   = text | number
    comparison = ( ">" | "<" | ">=" | "<=" | "==" | "!=" ) number

Blanks may stand between tokens. What the names mean is not known here (transform jobs contract, "Mappings" and the ruling on
the language).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gnj.queue.values import shown
from gnj.transform.errors import BadTransform

MAX_CHAIN: Final = 10_000
"""Characters of a chain."""
MAX_CALLS: Final = 100
"""Calls of a chain."""
MAX_DIGITS: Final = 30
"""Characters of a number in a chain."""

OPERATORS: Final = (">=", "<=", "==", "!=", ">", "<")
"""What may stand between a value and a number."""

Argument: TypeAlias = str | int | float


@dataclass(frozen=True, slots=True)
class Call:
    """A function and what it is given besides the value."""

    name: str
    arguments: tuple[Argument, ...] = ()
    position: int = field(default=0, compare=False)
    """0-based character of the name in the chain."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The value beside a number: of `OPERATORS`."""

    operator: str
    number: int | float


@dataclass(frozen=True, slots=True)
class Chain:
    """What is done with a value, one call after the other."""

    calls: tuple[Call, ...] = ()
    comparison: Comparison | None = None


_TOKEN: Final = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<text>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)
    |(?P<operator>[<>]=?|[=!]=)
    |(?P<sign>[.(),])
    |(?P<open>["'])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\([\\'\"])")
_END: Final = "the end"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


def parse(text: str) -> Chain:
    """The chain that a text describes.

    Raises `BadTransform` with the position of what is wrong.
    """
    if len(text) > MAX_CHAIN:
        raise BadTransform(
            f"a transform must have at most {MAX_CHAIN:,} characters, not {len(text):,}", position=MAX_CHAIN
        )
    return _Parser(_tokens(text)).chain()


def written(chain: Chain) -> str:
    """The chain as a text: `parse` of it is the chain."""
    calls = [f"{call.name}({', '.join(map(_argument, call.arguments))})" for call in chain.calls] or ["value"]
    end = f" {chain.comparison.operator} {chain.comparison.number!r}" if chain.comparison else ""
    return ".".join(calls) + end


def quoted(text: str) -> str:
    """The text as it stands in a chain or in a path."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquoted(text: str) -> str:
    r"""What a text in quotes says: `\\`, `\'` and `\"` are escapes, any other backslash stays."""
    return _ESCAPE.sub(r"\1", text[1:-1])


def _argument(argument: Argument) -> str:
    return quoted(argument) if isinstance(argument, str) else repr(argument)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise BadTransform(f"{shown(text[position])} means nothing at character {position}", position=position)
        if found.lastgroup == "open":
            raise BadTransform(f"the text that begins at character {position} has no end", position=position)
        if found.lastgroup != "blank":
            tokens.append(_Token(str(found.lastgroup), found[0], position))
        position = found.end()
    tokens.append(_Token("end", _END, len(text)))
    return tokens


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.place = 0

    def chain(self) -> Chain:
        if self.tokens[0].kind == "end":
            raise BadTransform("it is empty: leave it out, or begin with a function such as trim()", position=0)
        calls: list[Call] = []
        if self.tokens[0].text == "value" and self.tokens[1].text != "(":
            self.place = 1
        else:
            calls.append(self.call())
        while self.tokens[self.place].text == ".":
            self.place += 1
            if len(calls) == MAX_CALLS:
                position = self.tokens[self.place].position
                raise BadTransform(f"a transform must have at most {MAX_CALLS} calls", position=position)
            calls.append(self.call())
        comparison = self.comparison()
        if self.tokens[self.place].kind != "end":
            raise self.unexpected("the end" if comparison else "a dot and the next function, a comparison, or the end")
        return Chain(tuple(calls), comparison)

    def call(self) -> Call:
        name = self.take("name", "a function such as trim()")
        self.sign("(", f"( after {name.text}")
        arguments: list[Argument] = []
        if self.tokens[self.place].text != ")":
            arguments.append(self.argument())
            while self.tokens[self.place].text == ",":
                self.place += 1
                arguments.append(self.argument())
        self.sign(")", ", or )")
        return Call(name.text, tuple(arguments), name.position)

    def argument(self) -> Argument:
        token = self.tokens[self.place]
        if token.kind == "text":
            self.place += 1
            return unquoted(token.text)
        return self.number("a text in quotes, or a number,")

    def comparison(self) -> Comparison | None:
        token = self.tokens[self.place]
        if token.kind != "operator":
            return None
        self.place += 1
        return Comparison(token.text, self.number(f"a number after {token.text}"))

    def number(self, wanted: str) -> int | float:
        token = self.take("number", wanted)
        if len(token.text) > MAX_DIGITS:
            message = f"a number must have at most {MAX_DIGITS} characters, at character {token.position}"
            raise BadTransform(message, position=token.position)
        if token.text.lstrip("-").isdigit():
            return int(token.text)
        number = float(token.text)
        if number in (float("inf"), float("-inf")):
            raise BadTransform(f"the number at character {token.position} is too large", position=token.position)
        return number

    def take(self, kind: str, wanted: str) -> _Token:
        token = self.tokens[self.place]
        if token.kind != kind:
            raise self.unexpected(wanted)
        self.place += 1
        return token

    def sign(self, sign: str, wanted: str) -> None:
        token = self.tokens[self.place]
        # A text is a token with its quotes: it never looks like a sign.
        if token.text != sign:
            raise self.unexpected(wanted)
        self.place += 1

    def unexpected(self, wanted: str) -> BadTransform:
        token = self.tokens[self.place]
        what = _END if token.kind == "end" else shown(token.text)
        return BadTransform(f"{wanted} is expected at character {token.position}, not {what}", position=token.position)
