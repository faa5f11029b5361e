"""How many of the rules that are proposed for realistic samples and formats are right, and how many are missing.

    python -m benchmarks.mappings [--pairs]

The pairs are those of tests/transform/mapping_pairs. The names of one half begin with `tuned`: what is proposed was made better by
them. By the other half, `held_out`, nothing was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import options
from gnj.transform.generating import propose

PAIRS = Path(__file__).parent.parent / "tests" / "transform" / "mapping_pairs"
HALVES = ("tuned", "held_out")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target of one pair."""

    pair: str
    target: str
    expected: Sequence[str]
    """Fields any of which is right; none where no rule is."""
    proposed: str | None
    confidence: float
    whole: bool
    """Whether transform and choices are what is expected too."""

    @property
    def right(self) -> bool:
        return self.proposed in self.expected


@dataclass(frozen=True, slots=True)
class Score:
    """The outcomes of a half, counted."""

    targets: int
    proposed: int
    right: int
    whole: int
    expected: int

    @property
    def precision(self) -> float:
        """Of the rules that are proposed, those with the right field."""
        return self.right / self.proposed if self.proposed else 1.0

    @property
    def recall(self) -> float:
        """Of the targets for which there is a right field, those that have it."""
        return self.right / self.expected if self.expected else 1.0


def names(half: str) -> list[str]:
    return sorted(path.stem for path in PAIRS.glob(f"{half}_*.json"))


def pair(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((PAIRS / f"{name}.json").read_text())
    return found


def outcomes(name: str) -> list[Outcome]:
    """What is proposed for each target of a pair."""
    given = pair(name)
    rules = {rule["targetField"]: rule for rule in propose(given["samples"], given["format"])}
    found = []
    for target, expected in given["expected"].items():
        rule = rules.get(target, {})
        whole = rule.get("transform") == given["transforms"].get(target) and rule.get("choices") == given[
            "choices"
        ].get(target)
        found.append(Outcome(name, target, expected, rule.get("sourceField"), rule.get("confidence", 0.0), whole))
    return found


def score(found: Iterable[Outcome]) -> Score:
    every = list(found)
    right = [each for each in every if each.right]
    return Score(
        targets=len(every),
        proposed=sum(each.proposed is not None for each in every),
        right=len(right),
        whole=sum(each.whole for each in right),
        expected=sum(bool(each.expected) for each in every),
    )


def table() -> str:
    """Precision and recall of both halves, and how often rules of a confidence are right."""
    lines = ["            pairs  targets  rules  precision  recall  of the right: transform and choices right"]
    every: list[Outcome] = []
    for half in HALVES:
        found = [outcome for name in names(half) for outcome in outcomes(name)]
        every += found
        counted = score(found)
        lines.append(
            f"{half:10}  {len(names(half)):5}  {counted.targets:7}  {counted.proposed:5}"
            f"  {counted.precision:9.2f}  {counted.recall:6.2f}  {counted.whole / max(1, counted.right):.2f}"
        )
    lines += ["", "confidence   rules  right"]
    for low, high in ((0.5, 0.7), (0.7, 0.85), (0.85, 0.95), (0.95, 1.01)):
        rules = [each for each in every if each.proposed is not None and low <= each.confidence < high]
        if rules:
            share = sum(each.right for each in rules) / len(rules)
            lines.append(f"{low:.2f}-{min(high, 1):.2f}  {len(rules):6}  {share:.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = options.command_line(__doc__)
    parser.add_argument(
        "--pairs", action="store_true", help="each target for which the wrong rule, or none, is proposed"
    )
    given = parser.parse_args()
    print(table())
    if given.pairs:
        for half in HALVES:
            for name in names(half):
                for each in outcomes(name):
                    if each.proposed is not None and not each.right:
                        print(
                            f"{name}: {each.target}: {each.proposed} is wrong; right: {', '.join(each.expected) or 'none'}"
                        )
                    elif each.proposed is None and each.expected:
                        print(f"{name}: {each.target}: none is proposed; right: {', '.join(each.expected)}")


if __name__ == "__main__":
    main()
