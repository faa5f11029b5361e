"""The functions of transforms, and how a chain of them becomes what is called for each record.

Every function gives null for null, and for a value that is nothing to it: text functions take texts, and numbers and booleans
by their text form; lists and objects are nothing to them. None raises anything but `RecordRejected`. The examples of
docs/mapping.md say what each does (transform jobs contract, "Mappings" and the ruling on the language).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown
from gnj.transform.errors import BadTransform
from gnj.transform.mapping.forms import MAX_LENGTH, limited, number_of, number_text, simple_text_of, text_of, too_long
from gnj.transform.mapping.grammar import Argument, Call, Chain, Comparison
from gnj.transform.mapping.markup import without_tags
from gnj.transform.mapping.patterns import LONG, Pattern, Spent
from gnj.transform.mapping.units import Conversion
from gnj.transform.values import Value
from gnj.transform.writing import capitalized

Step: TypeAlias = Callable[[Value], Value]
"""A function with its arguments."""

ELEMENT: Final = 40
"""The price of an element of a list: its text form."""
JSON: Final = 25
"""That of a character of the JSON that is the text form of a list or an object."""

_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NAME: Final = re.compile(r"(?<!\w)([A-Za-z]\w*+)\s*+\(")
_INDEX: Final = re.compile(r"-?[0-9]{1,9}")


def price(chain: str) -> int:
    """What the calls of a chain take for each character of a text, as one figure (`Function.price`), or more."""
    return sum(FUNCTIONS[name].price if name in FUNCTIONS else 1 for name in _NAME.findall(chain))


def compiled(chain: Chain, spent: Spent, *, counts: bool = False) -> Step:
    """The chain as one function; if it `counts`, what it reads of long texts and lists is counted.

    Raises `BadTransform`, with the position of the name, for a function that does not exist or cannot be given such arguments.
    """
    steps = [_step(call, spent) for call in chain.calls]
    if counts and steps:
        steps = [_counting(step, FUNCTIONS[call.name], spent) for step, call in zip(steps, chain.calls, strict=True)]
    if chain.comparison is not None:
        steps.append(_comparing(chain.comparison))
    match steps:
        case []:
            return lambda value: value
        case [only]:
            return only
        case [first, second]:
            return lambda value: second(first(value))
        case _:
            return _sequence(tuple(steps))


def _sequence(steps: tuple[Step, ...]) -> Step:
    def run(value: Value) -> Value:
        for step in steps:
            value = step(value)
        return value

    return run


def _counting(step: Step, function: Function, spent: Spent) -> Step:
    """The step, which counts what it takes before it is taken; of a text that is made of a list or an object, after."""
    price = function.price
    few = LONG // price

    def run(value: Value) -> Value:
        kind = value.__class__
        if kind is str:
            if len(value) > few:  # type: ignore[arg-type]
                spent.read(len(value) * price)  # type: ignore[arg-type]
            return step(value)
        if kind is list and len(value) > LONG // ELEMENT:  # type: ignore[arg-type]
            spent.read(len(value) * ELEMENT)  # type: ignore[arg-type]
        made = step(value)
        if made.__class__ is str and len(made) > LONG // JSON:
            spent.read(len(made) * JSON)
        return made

    return run


def _step(call: Call, spent: Spent) -> Step:
    function = FUNCTIONS.get(call.name)
    if function is None:
        message = f"there is no function {call.name} (character {call.position}); there are: {', '.join(FUNCTIONS)}"
        raise BadTransform(message, position=call.position)
    try:
        function.check(call)
        return function.make(*call.arguments, spent) if function.timed else function.make(*call.arguments)
    except InvalidInput as error:
        raise BadTransform(f"{error} (character {call.position})", position=call.position) from None


@dataclass(frozen=True, slots=True)
class Function:
    """What a name in a chain means."""

    make: Callable[..., Step]
    """Takes the arguments; raises `InvalidInput` for those it cannot take."""
    needed: tuple[str, ...] = ()
    """What each of its arguments is."""
    optional: tuple[str, ...] = ()
    """What may be given besides."""
    timed: bool = False
    """Whether `make` also takes what counts the seconds of a record."""
    price: int = 1
    """How often it takes 20 ns for a character of a text, at worst; measured with texts of a million characters."""

    def check(self, call: Call) -> None:
        """Raises `InvalidInput` for too few or too many arguments, and for numbers where texts belong."""
        least, most = len(self.needed), len(self.needed) + len(self.optional)
        if not least <= len(call.arguments) <= most:
            wanted = f"{least} or {most} arguments" if least < most else f"{least} argument{'s' * (least != 1)}"
            given = f"{call.name}({', '.join((*self.needed, *(f'{name}?' for name in self.optional)))})"
            raise InvalidInput(f"{given} takes {wanted if most else 'no arguments'}, not {len(call.arguments)}")
        for name, argument in zip((*self.needed, *self.optional), call.arguments, strict=False):
            if name not in ("index", "start", "end") and not isinstance(argument, str):
                raise InvalidInput(f"{call.name}: {name} must be a text in quotes, not {argument}")


def _index(argument: Argument, function: str, name: str) -> int:
    if isinstance(argument, int) and abs(argument) < 10**9:
        return argument
    if isinstance(argument, str) and _INDEX.fullmatch(argument):
        return int(argument)
    raise InvalidInput(f"{function}: {name} must be a whole number of at most 9 digits, not {shown(argument)}")


def _on_text(function: Callable[[str], Value]) -> Callable[[], Step]:
    def step(value: Value) -> Value:
        if type(value) is str:
            return function(value)
        text = simple_text_of(value)
        return None if text is None else function(text)

    return lambda: step


def _to_number(value: Value) -> Value:
    return number_of(value)


def _to_boolean(value: Value) -> Value:
    text = value if type(value) is str else simple_text_of(value)
    return _BOOLEANS.get(text.strip().lower()) if text is not None and len(text) < 100 else None


def _to_string(value: Value) -> Value:
    return text_of(value)


def _converting(source: str, target: str) -> Step:
    conversion = Conversion(source, target)

    def convert(value: Value) -> Value:
        if type(value) is str:
            text = number_text(value)
            result = None if text is None else conversion(text)
            return None if result is None else _shortest(result)
        number = number_of(value)
        result = None if number is None else conversion(number if type(number) is int else repr(number))
        return None if result is None else number_of(_shortest(result))

    return convert


def _shortest(number: Decimal) -> str:
    text = f"{number:f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _splitting(separator: str, index: Argument) -> Step:
    place = _index(index, "split", "index")
    if not separator:
        raise InvalidInput("split: separator must not be empty; slice(0, 0) gives a text's first character")

    def split(value: Value) -> Value:
        text = value if type(value) is str else simple_text_of(value)
        if text is None or place < 0:
            return None
        parts = text.split(separator, place + 1)
        return parts[place] if place < len(parts) else None

    return split


def _slicing(start: Argument, end: Argument | None = None) -> Step:
    first = _index(start, "slice", "start")
    after = None if end is None else _index(end, "slice", "end") + 1

    def cut(value: Value) -> Value:
        whole: Any = value if isinstance(value, Sequence) else simple_text_of(value)
        if whole is None or not 0 <= first < len(whole) or (after is not None and after <= first):
            return None
        return whole[first:after]  # type: ignore[no-any-return]

    return cut


def _matching(pattern: str, spent: Spent) -> Step:
    first = Pattern(pattern, spent).first

    def match(value: Value) -> Value:
        text = value if type(value) is str else simple_text_of(value)
        return None if text is None else first(text)

    return match


def _replacing(search: str, replacement: str) -> Step:
    if not search:
        raise InvalidInput("replace: search must not be empty")
    more = len(replacement) - len(search)
    grown = len(replacement) / len(search)

    def replace(value: Value) -> Value:
        text = value if type(value) is str else simple_text_of(value)
        if text is None:
            return None
        # Most texts could not get too long if they were nothing but what is replaced; of the others it is counted.
        if more > 0 and len(text) * grown > MAX_LENGTH and len(text) + text.count(search) * more > MAX_LENGTH:
            raise too_long()
        return text.replace(search, replacement)

    return replace


def _joining(separator: str) -> Step:
    def join(value: Value) -> Value:
        if type(value) is list or (isinstance(value, Sequence) and not isinstance(value, str)):
            texts = [text for item in value if (text := text_of(item)) is not None]
            if sum(map(len, texts)) + len(separator) * len(texts) > MAX_LENGTH:
                raise too_long()
            return separator.join(texts)
        return simple_text_of(value)

    return join


_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


def _comparing(comparison: Comparison) -> Step:
    holds, number = _COMPARISONS[comparison.operator], comparison.number

    def compare(value: Value) -> Value:
        if type(value) is int:
            return holds(value, number)
        # NaN is no number
        return type(value) is float and value == value and holds(value, number)  # noqa: PLR0124

    return compare


FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {
        "capitalize": Function(_on_text(capitalized), price=20),
        "trim": Function(_on_text(str.strip)),
        "toNumber": Function(lambda: _to_number),
        "toBoolean": Function(lambda: _to_boolean),
        "toString": Function(lambda: _to_string),
        "toLowerCase": Function(_on_text(str.lower)),
        "toUpperCase": Function(_on_text(lambda text: limited(text.upper()))),
        "removeHTMLTags": Function(_on_text(without_tags), price=15),
        "convert": Function(_converting, ("from", "to")),
        "split": Function(_splitting, ("separator", "index")),
        "slice": Function(_slicing, ("start",), ("end",)),
        "match": Function(_matching, ("regex",), timed=True),
        "replace": Function(_replacing, ("search", "replacement")),
        "join": Function(_joining, ("separator",)),
    }
)
"""Every function by its name."""
