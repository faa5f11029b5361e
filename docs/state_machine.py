"""Writes `state_machine.md` from the tables of `gnj.queue.states`.

python docs/state_machine.py          writes it
python docs/state_machine.py --check  tells whether it is up to date
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from gnj.queue import states
from gnj.queue.clock import NOW
from gnj.queue.states import Move, Same

PAGE = Path(__file__).with_suffix(".md")

_INTRODUCTION = """# The state machines

Generated from `gnj/queue/states.py` by `python docs/state_machine.py`; nothing else decides a status. A move leads out of the
statuses named here and out of no others: anything else is refused with `ILLEGAL_TRANSITION`, and nothing changes.
"""
_MACHINES = (
    ("Jobs", states.JobStatus, states.JOB_MOVES, states.JOB_BY_HAND),
    ("Batches", states.BatchStatus, states.BATCH_MOVES, states.BATCH_BY_HAND),
    ("Pipelines", states.PipelineStatus, states.PIPELINE_MOVES, states.PIPELINE_BY_HAND),
    ("Steps", states.StepStatus, states.STEP_MOVES, states.STEP_BY_HAND),
)
_RETRY = """
`retry` is no move: it makes a new job in the old one's place. A failed try of a job that has tries left is a `retry later`, a
lost lease a `lose`, `lose and fail` or `lose and hold`, by the job's `onLost` and `maxStalled`; a worker that stops, and a handler
that snoozes, `release`.
"""


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for title, statuses, moves, by_hand in _MACHINES:
        parts += [f"## {title}\n", _diagram(moves), _statuses(statuses), _table(moves, by_hand)]
        if title == "Jobs":
            parts.append(_RETRY)
    return "\n".join(parts)


def _diagram(moves: Mapping[str, Move]) -> str:
    arrows: dict[tuple[str, str], list[str]] = {}
    for move in moves.values():
        for before, after in move.to.items():
            arrows.setdefault((_node(before), _node(after)), []).append(move.name)
    lines = [f"    {before} --> {after}: {', '.join(names)}" for (before, after), names in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", ""])


def _node(status: StrEnum | None) -> str:
    return "[*]" if status is None else status.value.replace("-", "_")


def _statuses(statuses: type[StrEnum]) -> str:
    """The statuses, and what their definition says of them."""
    source = inspect.getsource(statuses).splitlines()
    told = {}
    for line, following in zip(source, [*source[1:], ""], strict=True):
        name = line.strip().partition(" = ")[0]
        if name in statuses.__members__:
            text = following.strip()
            told[name] = text.strip('"') if text.startswith('"""') else ""
    rows = [f"| `{statuses[name].value}` | {text} |" for name, text in told.items()]
    return "\n".join(["| status | |", "|---|---|", *rows, ""])


def _table(moves: Mapping[str, Move], by_hand: Mapping[StrEnum, str]) -> str:
    wishes: dict[str, list[str]] = {}
    for wish, name in by_hand.items():
        wishes.setdefault(name, []).append(f"`{wish.value}`")
    rows = []
    for move in moves.values():
        leads: dict[str, list[str]] = {}
        for before, after in move.to.items():
            leads.setdefault(after.value, []).append("none" if before is None else before.value)
        ways = "; ".join(f"{', '.join(befores)} → {after}" for after, befores in leads.items())
        rows.append(f"| {move.name} | {ways} | {_stamps(move)} | {', '.join(wishes.get(move.name, []))} |")
    head = ["| move | leads | writes | by hand, to ask for |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _stamps(move: Move) -> str:
    def shown(value: object) -> str:
        if value == NOW:
            return "now"
        return value.attribute if isinstance(value, Same) else "null" if value is None else str(value).lower()

    return ", ".join(f"{name} = {shown(value)}" for name, value in move.stamps.items())


def main() -> None:
    """The command."""
    if sys.argv[1:] == ["--check"]:
        sys.exit(None if PAGE.read_text() == page() else f"{PAGE.name} is stale: python docs/{Path(__file__).name}")
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
