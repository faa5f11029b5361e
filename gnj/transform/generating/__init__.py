"""Mappings that are proposed for samples and a target format (contract, "Mappings": `generateMapping`).

By names first (the same; the same but for the way they are written; words of one meaning; words written alike), then
by whether the values are what the target asks for. docs/generated_mappings.md tells what users see of it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeAlias

from gnj.transform.generating.fitting import Target, Use, target_of, use_of
from gnj.transform.generating.names import Likeness
from gnj.transform.generating.paths import Field, fields_of
from gnj.transform.generating.words import storable
from gnj.transform.values import Record

__all__ = ["Generator", "propose"]

Generator: TypeAlias = Callable[[Sequence[Record], Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""What a host may propose mappings with instead of `propose`: its arguments, its result."""

_MOST_SAMPLES: Final = 100
_MOST_TARGETS: Final = 200
_LONGEST_TARGET: Final = 200
_LEAST: Final = 0.5
"""Below it nothing is proposed."""
_GIVEN_UP: Final = 0.1
"""What a target may lose for another to have a field at all."""
_LEAST_TWICE: Final = 0.9
"""From here on a field serves a target though it serves another already."""
_EACH_LEVEL: Final = 0.985
_FIRST_ELEMENT: Final = 0.97
_RARE: Final = 0.15
"""What a field loses that no record has."""

_CALIBRATION: Final = ((0.0, 0.0), (0.5, 0.5), (0.6, 0.7), (0.7, 0.8), (0.75, 0.93), (0.85, 0.97), (1.0, 0.99))
"""How many are right of those that look as sure: of 311 rules for the evaluation set, and 36 that are proposed, and wrong,
when each target's right fields are taken from the records. The latter count as a quarter: not so many targets have none.
"""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A field that may serve a target."""

    sure: float
    """In 0 to 1, comparable with others; what it is worth is told by `_confidence`."""
    at: int
    """The target's place in the format."""
    place: int
    """The field's place in the records."""
    source: Field
    use: Use

    @property
    def part(self) -> tuple[str, str]:
        """What of the records it takes."""
        return self.source.path, self.use.part


def propose(samples: Sequence[Record], definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rules of a mapping from records like `samples` to the format `definition`.

    Args:
        samples: Records of the source; the first 100 are looked at. None gives no rules.
        definition: The target format, `{"Field": {"type": …, "choices": …, "attributes": …, "fields": …}}`.

    Returns:
        `{"sourceField", "targetField", "confidence"}`, where needed with `transform` and `choices`: at most one for each
        target, in the format's order. `confidence` is the share of rules with this figure that were right in the
        evaluation, in 0 to 1.
    """
    fields = fields_of(samples[:_MOST_SAMPLES])
    named = [
        (name, described)
        for name, described in islice(definition.items(), _MOST_TARGETS)
        if 0 < len(name) <= _LONGEST_TARGET and storable(name)
    ]
    targets = [target_of(name, described) for name, described in named]
    chosen = _chosen(_candidates(targets, fields, len(samples[:_MOST_SAMPLES])))
    return [_rule(target, chosen[at]) for at, target in enumerate(targets) if at in chosen]


def _candidates(targets: Sequence[Target], fields: Sequence[Field], records: int) -> list[_Candidate]:
    """What may serve a target, the surest first; among equals the format's order, then that of the records."""
    likeness = Likeness()
    found = []
    for at, target in enumerate(targets):
        for place, source in enumerate(fields):
            alike = likeness.of(target.name, source.name)
            if alike < _LEAST or (use := use_of(target, source)) is None:
                continue
            present = min(1.0, source.profile.seen / records)
            sure = alike * use.share * _EACH_LEVEL**source.depth * (1 - _RARE * (1 - present))
            if source.first:
                sure *= _FIRST_ELEMENT
            if sure >= _LEAST:
                found.append(_Candidate(min(1.0, sure), at, place, source, use))
    return sorted(found, key=lambda each: (-each.sure, each.at, each.place))


def _chosen(candidates: Sequence[_Candidate]) -> dict[int, _Candidate]:
    """One for each target: the surest pairs first, so that no sure one is given up for the sake of two that are less so.

    A field serves one target, and another only if it is as good as named for it. The amount and the currency of a
    price are two fields here, and so are a list and its first element.
    """
    chosen: dict[int, _Candidate] = {}
    holders: dict[tuple[str, str], int] = {}
    for candidate in candidates:
        if candidate.at in chosen:
            continue
        if candidate.part in holders:
            holder = holders[candidate.part]
            if (other := _other(candidates, chosen[holder], holders)) is None:
                continue
            chosen[holder] = other
            holders[other.part] = holder
        chosen[candidate.at] = candidate
        holders[candidate.part] = candidate.at
    for candidate in candidates:
        if candidate.at not in chosen and candidate.sure >= _LEAST_TWICE:
            chosen[candidate.at] = candidate
    return chosen


def _other(
    candidates: Sequence[_Candidate], held: _Candidate, holders: Mapping[tuple[str, str], int]
) -> _Candidate | None:
    """What could serve the same target, almost as well, and serves none."""
    return next(
        (
            each
            for each in candidates
            if each.at == held.at and each.part not in holders and each.sure >= held.sure - _GIVEN_UP
        ),
        None,
    )


def _rule(target: Target, found: _Candidate) -> dict[str, Any]:
    use = found.use
    rule: dict[str, Any] = {"sourceField": found.source.path, "targetField": target.field}
    if use.transform is not None:
        rule["transform"] = use.transform
    if use.choices is not None:
        rule["choices"] = {choice: list(values) for choice, values in use.choices.items()}
    return rule | {"confidence": _confidence(found.sure)}


def _confidence(sure: float) -> float:
    """How often what looks as sure as this is right, in two decimals."""
    above = min(bisect_right([point for point, _ in _CALIBRATION], sure), len(_CALIBRATION) - 1)
    (low, share_low), (high, share_high) = _CALIBRATION[above - 1], _CALIBRATION[above]
    return round(share_low + (share_high - share_low) * (sure - low) / (high - low), 2)
