"""Names of fields, as words with what they mean and how much they say; and how alike two names are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from rapidfuzz import fuzz

from gnj.transform.generating.words import (
    DISTINCT,
    GENERIC_WORDS,
    LONGEST_PHRASE,
    MOMENTS,
    NEAR,
    NOISE,
    PARTS,
    PHRASES,
    PICTURES,
    TOGETHER,
    plain,
    singular,
)

_NAMESPACE: Final = re.compile(r"(?:@|[A-Za-z_][\w-]{0,15}:(?=\S))")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"[^\W\d_]+|\d+")
_LONGEST_NAME: Final = 80
_MOST_WORDS: Final = 8
_LONGEST_COMPOUND: Final = 30
_SYNONYM: Final = 0.93
"""Words of one meaning are less than the same word."""
NOISE_WEIGHT: Final = 0.15
_ABOVE_SHARE: Final = 0.6
"""What stands above the last name of a path says less than it."""
_SAME_WORDS: Final = 0.98
_LEAST_ASKED: Final = 0.25
_ABBREVIATED: Final = 0.8
_SHORTEST_ALIKE: Final = 4
_ALIKE: Final = 0.8
"""From here on two words are taken for one, written twice."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a name."""

    text: str
    meaning: str
    weight: float
    """How much it says: 1, and less for what any field may be called."""


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a field, or the names along a path."""

    text: str
    """The last one, as it is written."""
    words: tuple[Word, ...]
    """Each meaning once."""
    alone: bool
    """Whether nothing that says something stands above it."""

    @property
    def weight(self) -> float:
        """How much its words say in all."""
        return sum(word.weight for word in self.words)

    @property
    def meanings(self) -> frozenset[str]:
        """What its words mean."""
        return frozenset(word.meaning for word in self.words)

    @property
    def meaning(self) -> str:
        """What it means most of all: its last word of those that say the most. "" for no words."""
        return max(reversed(self.words), key=lambda word: word.weight).meaning if self.words else ""


def _compound(word: str) -> list[str]:
    """The known words that `word` is put together from, as few as may be; else the word itself.

    A German `s` may join two of them.
    """
    if len(word) > _LONGEST_COMPOUND or word in PARTS or (word,) in PHRASES:
        return [word]
    best: list[list[str] | None] = [[]] + [None] * len(word)
    for end in range(2, len(word) + 1):
        for start in range(end - 1):
            before = best[start]
            part = word[start:end]
            if before is None and start and word[start - 1] == "s":
                before = best[start - 1]
            known = next((each for each in (part, singular(part)) if each in PARTS), None)
            if before is not None and known and (best[end] is None or len(before) + 1 < len(best[end] or ())):
                best[end] = [*before, known]
    return best[len(word)] or [word]


def _written(name: str) -> list[str]:
    """The words of a name as they are written but for namespace, case and accents; `camelCase` is taken apart."""
    name = name[:_LONGEST_NAME]
    name = _NAMESPACE.sub("", name, count=1) if _NAMESPACE.match(name) else name
    return _WORD.findall(plain(_HUMP.sub(" ", name)))[:_MOST_WORDS]


def is_plural(name: str) -> bool:
    """Whether a name is that of several things."""
    words = _written(name)
    return bool(words) and singular(words[-1]) != words[-1]


def words_of(name: str) -> list[str]:
    """The words of a name in the singular, compounds taken apart."""
    return [part for word in _written(name) for part in _compound(singular(word))][:_MOST_WORDS]


def _meanings(words: Sequence[str]) -> list[tuple[str, str]]:
    """Words with what they mean, the longest known phrase first."""
    found = []
    at = 0
    while at < len(words):
        for length in range(min(LONGEST_PHRASE, len(words) - at), 0, -1):
            phrase = tuple(words[at : at + length])
            if length == 1 or phrase in PHRASES:
                found.append((" ".join(phrase), PHRASES.get(phrase, phrase[0])))
                at += length
                break
    return found


def _weighed(name: str, share: float = 1.0) -> list[Word]:
    """The words of one name, and how much each says."""
    found = []
    for text, meaning in _meanings(words_of(name)):
        noise = text in NOISE or text.isdigit() or (len(text) < 3 and (text,) not in PHRASES)
        found.append(Word(text, meaning, NOISE_WEIGHT if noise else share * (2.0 if meaning in DISTINCT else 1.0)))
    return found


def _toned_down(word: Word, said: AbstractSet[str]) -> Word:
    """Less of a word that only names the kind of what else is `said`: a brand's name is the brand."""
    generic = word.text in GENERIC_WORDS and said - {word.meaning}
    if generic or (word.meaning == "url" and said & PICTURES) or (word.meaning == "date" and said & MOMENTS):
        return replace(word, weight=NOISE_WEIGHT)
    return word


def name_of(last: str, above: Sequence[str] = ()) -> Name:
    """The name of a field; of one at the end of a path, with the names above it."""
    own = _weighed(last)
    over = [word for name in above for word in _weighed(name, _ABOVE_SHARE)]
    said = {word.meaning for word in (*own, *over) if word.weight > NOISE_WEIGHT}
    own = [_toned_down(word, said) for word in own]
    if all(word.weight <= NOISE_WEIGHT for word in own):
        # The last name says nothing of its own: what stands above it speaks in full.
        over = [word for name in above for word in _weighed(name)]
    over = [_toned_down(word, said) for word in over]
    alone = all(word.weight <= NOISE_WEIGHT for word in over)
    words: dict[str, Word] = {}
    for word in (*over, *own):
        if word.meaning not in words or words[word.meaning].weight <= word.weight:
            words.pop(word.meaning, None)
            words[word.meaning] = word
    for parts, meaning in TOGETHER.items():
        if parts <= words.keys():
            text = " ".join(words.pop(part).text for part in sorted(parts))
            words[meaning] = Word(text, meaning, 1.0)
    if not said:
        words = {meaning: replace(word, weight=1.0) for meaning, word in words.items()}
    return Name(last, tuple(words.values()), alone)


class Likeness:
    """How alike names are; what was found out about two words is kept."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], float] = {}

    def of(self, target: Name, source: Name) -> float:
        """How sure it is by the names alone that `source` has what `target` asks for, in 0 to 1.

        What the target says and the source does not weighs more than what the source says besides: a price that
        is on sale is a price, any price is not one that is on sale.
        """
        if target.text == source.text and source.alone:
            return 1.0
        if not target.words or not source.words:
            return 0.0
        asked = 0.0
        found = [0.0] * len(source.words)
        for word in target.words:
            likes = [self._words(word, other) for other in source.words]
            alike = max(likes)
            asked += word.weight * alike
            at = likes.index(alike)
            found[at] = max(found[at], alike)
        asked /= target.weight
        if asked < _LEAST_ASKED:
            return 0.0
        besides = sum(word.weight * alike for word, alike in zip(source.words, found, strict=True)) / source.weight
        # The id of something else is no id of this.
        share = besides**2 if target.meaning == "id" else math.sqrt(besides)
        return min(_SAME_WORDS, asked * share)

    def _words(self, one: Word, other: Word) -> float:
        if one.meaning == other.meaning:
            return 1.0 if one.text == other.text else _SYNONYM
        key = (one.text, other.text)
        if (known := self._known.get(key)) is None:
            known = self._known[key] = _alike(one, other)
        return known


def _alike(one: Word, other: Word) -> float:
    near = NEAR.get(frozenset((one.meaning, other.meaning)), 0.0)
    short, long = sorted((one.text, other.text), key=len)
    # Height and weight are written alike, and both known: only what is not known may be a way to write another.
    if near or len(short) < _SHORTEST_ALIKE or (_known(one) and _known(other)):
        return near
    if long.startswith(short):
        return _ABBREVIATED
    return float(fuzz.ratio(short, long, score_cutoff=100 * _ALIKE)) / 100


def _known(word: Word) -> bool:
    """Height and weight are written alike, and are two words: only of what is not known is that telling."""
    return word.meaning != word.text or word.text in NOISE or (word.text,) in PHRASES
