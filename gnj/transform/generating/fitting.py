"""What a target of the format takes of a field's values, and what has to be done to them first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from gnj.transform.generating.kinds import ALL, LONGEST_CHOICE, Kind, Profile, written_alike
from gnj.transform.generating.names import NOISE_WEIGHT, Name, is_plural, name_of
from gnj.transform.generating.paths import Field
from gnj.transform.generating.words import MOMENTS, PICTURES, storable
from gnj.transform.mapping.functions import Step, compiled
from gnj.transform.mapping.grammar import parse
from gnj.transform.mapping.patterns import Spent

_MOST_CHOICES: Final = 200
_ASSURED: Final = 1.05
"""Values that are what few are: an e-mail address, one of the choices."""
_UNSEEN: Final = 0.85
"""No sample has a value."""
_LESS: Final = 0.8
_ODD: Final = 0.5
_EXTRACTED: Final = 0.8
"""An amount beside a currency: other records may be written otherwise than the samples."""
_MOSTLY: Final = 0.5
"""From here on a field has numbers, and something else besides: `on request`."""
_BEFORE: Final = r"^[^-\u2212(0-9]*\K(?:(?<!\w)-)?[0-9]+"
_AFTER: Final = r"(?=[^-\u22120-9]*$)"
"""An amount stands alone, and has its sign: of `12-13`, `(4.00)` and `4.00-` nothing is taken rather than something wrong."""
_COMMAS: Final = 'replace(".", "").replace(",", ".")'
_COMMAS_ONLY: Final = 'replace(",", ".")'
_CODE: Final = 'match("[A-Z]{3}")'
_BLANK: Final = re.compile(r"(?<=\d)\s(?=\d)")
_DECIMAL_POINT: Final = re.compile(r"\d\.\d{1,2}(?!\d)")
_TRUTHS: Final = {
    "true": frozenset("true yes 1 y t ja oui on vrai wahr".split()),
    "false": frozenset("false no 0 n f nein non off faux falsch".split()),
}
_AGAINST_ATTRIBUTE: Final = {"url": 0.3, "phoneNumber": 0.4, "percentage": 0.3}
"""What remains where an attribute does not find its kind of text; of the others nothing does."""
_NUMBERS: Final = (Kind.NUMBER, Kind.NUMERIC)
_WITH_COMMAS: Final = (*_NUMBERS, Kind.COMMA, Kind.COMMA_POINTS)
_ATTRIBUTES: Final[Mapping[str, tuple[Kind, ...]]] = {
    "url": (Kind.URL,),
    "email": (Kind.EMAIL,),
    "date": (Kind.DATE,),
    "datetime": (Kind.DATE,),
    "phoneNumber": (Kind.PHONE,),
    "currency": (Kind.CURRENCY, Kind.CODED),
    "percentage": _WITH_COMMAS,
}
"""What the attributes of a text ask of it (contract, "Target formats")."""
_MEANINGS: Final[Mapping[str, tuple[tuple[Kind, ...], float]]] = {
    "image": ((Kind.IMAGE,), 0.75),
    "url": ((Kind.URL,), 0.35),
    "gtin": ((Kind.GTIN, Kind.NUMBER), 0.5),
    "currency": ((Kind.CURRENCY, Kind.CODED), 0.2),
    "email": ((Kind.EMAIL,), 0.2),
    "phone": ((Kind.PHONE, Kind.NUMBER), 0.4),
    **dict.fromkeys((*MOMENTS, "date"), ((Kind.DATE,), 0.6)),
    "description": ((Kind.LONG, Kind.HTML), 0.9),
}
"""What a text is that has such a name, and what remains of the likeness when it is not."""
_WORDS: Final = frozenset(
    "title brand category color description summary keyword condition company merchant author city country firstname lastname position".split()
)
"""What has such a name is no number."""


@dataclass(frozen=True, slots=True)
class Target:
    """A field of the target format."""

    field: str
    name: Name
    plural: bool
    """Whether its name is that of several things."""
    type: str
    attributes: frozenset[str]
    choices: Mapping[str, str]
    """By how they are `written_alike`."""
    objects: bool
    """Whether the format says what fields the elements of the array have."""


@dataclass(frozen=True, slots=True)
class Use:
    """How a field would serve a target."""

    share: float
    """What remains of the likeness of their names: 1 for values that are what is asked for."""
    transform: str | None = None
    choices: Mapping[str, Sequence[str]] | None = None
    part: str = ""
    """Which part of a value it takes: the amount and the currency of a price serve two targets."""


def target_of(field: str, described: Any) -> Target:
    """The target `field`, as the format describes it; what is unreadable there describes nothing."""
    of = described if isinstance(described, Mapping) else {}
    kind, attributes, choices, inner = (of.get(key) for key in ("type", "attributes", "choices", "fields"))
    name = name_of(field)
    return Target(
        field,
        _counted(name) if kind == "number" else name,
        is_plural(field),
        kind if isinstance(kind, str) else "string",
        frozenset(_texts(attributes)),
        {
            written_alike(each): each
            for each in reversed(_texts(choices))
            if len(each) <= LONGEST_CHOICE and storable(each)
        },
        isinstance(inner, Mapping) and bool(inner),
    )


def _texts(values: Any) -> list[str]:
    """The texts in a list, the first few hundred; none in what is no list."""
    if not isinstance(values, list | tuple):
        return []
    return [each for each in values[:_MOST_CHOICES] if isinstance(each, str)]


def _counted(name: Name) -> Name:
    """Of a number it need not be said that it counts: `comments` is 14."""
    if name.meanings <= {"count"}:
        return name
    words = (replace(word, weight=NOISE_WEIGHT) if word.meaning == "count" else word for word in name.words)
    return replace(name, words=tuple(words))


def use_of(target: Target, source: Field) -> Use | None:
    """How `source` would serve `target`; None where its values are nothing for it."""
    if target.type == "array":
        return _array(target, source)
    if not source.profile.kinds:
        # Nothing is known of values that no sample has.
        return None if source.many else Use(_UNSEEN)
    if target.type == "number":
        return None if source.many else _number(source.profile)
    if target.type == "boolean":
        return None if source.many else _boolean(target, source.profile)
    return _text(target, source)


def _array(target: Target, source: Field) -> Use | None:
    profile = source.profile
    if not profile.kinds:
        return Use(_UNSEEN)
    if target.objects:
        # Objects with the fields that are described; what else they have is dropped.
        return Use(1.0) if profile.all(Kind.OBJECTS) else None
    if profile.all(Kind.OBJECTS):
        return Use(_ODD)
    if not source.many:
        # One value becomes a list of one.
        return Use(_LESS if not source.first else _ODD)
    return Use(_expected(target, profile)[0])


def _number(profile: Profile) -> Use | None:
    numbers = profile.share(*_WITH_COMMAS, Kind.MONEY, Kind.MONEY_COMMA)
    if numbers < _MOSTLY:
        return None
    # What is no number anyway speaks against none of these.
    needed = min(numbers, ALL)
    share = 1.0 if numbers >= ALL else numbers**1.5
    if profile.share(Kind.NUMBER) >= needed:
        return Use(share)
    if profile.share(*_NUMBERS) >= needed:
        return Use(share, "toNumber()")
    if profile.share(*_WITH_COMMAS) >= needed:
        transform = _amount(profile, points=False)
        return Use(share * min(1.0, _read(transform, profile) / numbers), transform)
    transform = _amount(profile, points=profile.share(*_NUMBERS, Kind.MONEY) >= needed)
    return Use(share * _EXTRACTED * min(1.0, _read(transform, profile) / numbers), transform, part="amount")


def _read(transform: str, profile: Profile) -> float:
    """What share of the samples a transform makes a number of."""
    read, spent = _compiled(transform)
    spent.begin()
    return sum(read(text) is not None for text in profile.texts) / max(1, len(profile.texts))


@lru_cache(maxsize=100)
def _compiled(transform: str) -> tuple[Step, Spent]:
    spent = Spent()
    return compiled(parse(transform), spent), spent


def _amount(profile: Profile, *, points: bool) -> str:
    """What takes the amount out of a text, with a currency or without, where it is written as in the samples; null where it is not.

    To replace the commas alone would make 1250 of a later 12.50.
    """
    seen = {blank for text in profile.texts for blank in _BLANK.findall(text)}
    # who writes blanks between thousands has typed one today, and copied another one tomorrow
    blanks = sorted({*seen, " ", "\u00a0", "\u202f"} if seen else " ")
    joined = "".join(f'.replace("{blank}", "")' for blank in blanks)
    if points:
        number, commas = r"(?:[\s,][0-9]{3})*(?:\.[0-9]+)?", ""
    elif (commas := f".{_commas(profile)}") == f".{_COMMAS}":
        number = r"(?:[\s.][0-9]{3})*(?:,[0-9]+)?"
    else:
        number = r"(?:\s[0-9]{3})*(?:[.,][0-9]{1,2})?"
    return f'match("{_BEFORE}{number}{_AFTER}"){joined}{commas}.toNumber()'


def _commas(profile: Profile) -> str:
    """Decimal commas to points; points go, unless some value has a decimal point."""
    return _COMMAS_ONLY if any(_DECIMAL_POINT.search(text) for text in profile.texts) else _COMMAS


def _boolean(target: Target, profile: Profile) -> Use | None:
    if profile.all(Kind.BOOLEAN):
        return Use(1.0)
    if profile.all(Kind.BOOLEAN, Kind.TRUTH) or (profile.texts and profile.texts.keys() <= {"0", "1"}):
        return Use(1.0, "toBoolean()")
    if profile.all(Kind.BOOLEAN, Kind.TRUTH, Kind.YES_NO):
        choices = {
            choice: [text for text in profile.texts if text.casefold() in words] for choice, words in _TRUTHS.items()
        }
        return Use(1.0, choices={choice: texts for choice, texts in choices.items() if texts})
    if profile.all(*_NUMBERS) and not target.name.meanings.isdisjoint({"availability", "stock"}):
        return Use(1.0, "value > 0" if profile.all(Kind.NUMBER) else "toNumber() > 0", part="any")
    return None


def _text(target: Target, source: Field) -> Use | None:
    profile = source.profile
    if profile.all(Kind.OBJECTS) or (target.choices and source.many):
        return None
    if source.many:
        joins = not target.attributes & _ATTRIBUTES.keys() and target.name.meanings.isdisjoint(PICTURES)
        return Use(1.0 if target.plural else _LESS, 'join(", ")') if joins else None
    if target.choices:
        return _choice(target, profile)
    share, part = _expected(target, profile)
    if not share:
        return None
    if part == "code":
        return Use(share, _CODE, part=part)
    if profile.share(Kind.HTML) and "html" not in target.name.text.casefold():
        return Use(share, "removeHTMLTags().trim()")
    if profile.all(Kind.NUMBER, Kind.BOOLEAN) and "percentage" not in target.attributes:
        return Use(share, "toString()")
    return Use(share)


def _expected(target: Target, profile: Profile) -> tuple[float, str]:
    """What remains of the likeness by the kinds of texts that the target's attributes and name let expect."""
    attributes = sorted(target.attributes & _ATTRIBUTES.keys())
    wanted = [(_ATTRIBUTES[each], _AGAINST_ATTRIBUTE.get(each, 0.0)) for each in attributes]
    wanted += [
        _MEANINGS[each] for each in (target.name.meaning, *sorted(PICTURES & target.name.meanings)) if each in _MEANINGS
    ]
    share = 1.0
    for kinds, otherwise in wanted:
        share *= _ASSURED if profile.all(*kinds) else otherwise
    if not wanted:
        share = _unexpected(target.name.meaning, profile)
    coded = profile.all(Kind.CODED) and Kind.CODED in {kind for kinds, _ in wanted for kind in kinds}
    return share, "code" if coded else ""


def _unexpected(meaning: str, profile: Profile) -> float:
    """What remains of the likeness where values are what nobody would call so: a title that is a URL."""
    telling = meaning != "id" and profile.all(Kind.URL, Kind.DATE, Kind.EMAIL, Kind.CURRENCY)
    if telling or (meaning in _WORDS and profile.all(*_WITH_COMMAS, Kind.BOOLEAN)):
        return _ODD
    return _LESS if meaning in _WORDS and profile.all(Kind.LONG) else 1.0


def _choice(target: Target, profile: Profile) -> Use | None:
    """Values that are choices, or would be if they were written alike."""
    found: dict[str, list[str]] = {choice: [] for choice in target.choices.values()}
    for text, alike in profile.texts.items():
        if (choice := target.choices.get(alike)) is not None:
            found[choice].append(text)
    known = sum(map(len, found.values()))
    if not known or known * 2 < len(profile.texts):
        return None
    share = _ASSURED * (0.7 + 0.3 * known / len(profile.texts))
    if all(text == choice for choice, texts in found.items() for text in texts):
        return Use(share)
    return Use(share, choices={choice: texts for choice, texts in found.items() if texts})
