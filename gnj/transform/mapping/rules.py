"""Mappings: rules that say which value of a source's record each field of the target gets."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Map
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from gnj.queue import deadline
from gnj.queue.errors import InvalidInput
from gnj.queue.values import MAX_NAME, check_json, check_text, shown
from gnj.transform.errors import BadMapping, BadTransform, RecordRejected
from gnj.transform.mapping.forms import text_of
from gnj.transform.mapping.functions import JSON, Step, compiled, price
from gnj.transform.mapping.grammar import Chain, parse
from gnj.transform.mapping.paths import Constant, Getter, getter, parse_path
from gnj.transform.mapping.patterns import LONG, Spent
from gnj.transform.values import Record, Value

MAX_RULES: Final = 1_000
"""Rules of a mapping."""
MAX_CALLS: Final = 5_000
"""Calls in all transforms of a mapping."""
MAX_PATTERNS: Final = 100
"""Calls of `match` in a mapping: 2 s to compile at worst."""
MAX_CHOICES: Final = 10_000
"""Values in the choices of a rule."""
MAX_BYTES: Final = 1024 * 1024
"""Bytes of a mapping as JSON."""

MAX_MADE: Final = 50_000_000
"""Characters of texts and elements of lists that are made for one record."""

_FEW: Final = 30
"""The price of calls that come to no more than is allowed, or to little more, however long the texts are: of so few nothing is counted."""

Choices: TypeAlias = Map[str, tuple[str, ...]]

_KNOWN: Final = ("sourceField", "targetField", "transform", "choices", "confidence")
_EXAMPLE: Final = '{"sourceField": "title", "targetField": "name"}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Where the value of one field comes from."""

    source_field: str
    """A path, or a constant in quotes."""
    target_field: str
    """The field that gets the value: a name as a whole, also where it has dots. Elements of an array get the names they have."""
    transform: str | None = None
    """A chain of functions."""
    choices: Choices | None = None
    """Texts by what is to stand for them. The key whose texts have "" is taken for what no key has."""
    confidence: float | None = None
    """From 0 to 1: how sure the generator of the rule was."""


class Mapping:
    """Rules, ready for records. `compile_mapping` makes it; threads may share it."""

    __slots__ = ("_constants", "_keys", "_limited", "_spent", "_steps", "_targets", "_walks", "_wire", "rules")

    def __init__(self, compiler: _Compiler, wire: list[dict[str, Any]]) -> None:
        programs = compiler.programs
        self.rules = tuple(compiler.rules)
        self._wire = wire
        self._spent = compiler.spent
        self._targets = tuple(each.target for each in programs)
        self._keys = tuple(each.key for each in programs)
        self._constants = {each.target: each.constant for each in programs if each.constant is not None}
        self._walks = tuple((each.target, each.key, each.walk) for each in programs if each.walk is not None)
        self._steps = tuple((each.target, each.step) for each in programs if each.step is not None)
        self._limited = compiler.patterns > 0 or compiler.counts

    def apply(self, record: Record) -> dict[str, Value]:
        """The fields of the target, in the order of their rules: each has its key, with null for what the record lacks.

        Raises `RecordRejected` with a reason for each field whose function ran out of time or space, `TimedOut` once the request
        that waits for it has no time left.
        """
        # Most rules name a key: all are looked up in one go, in C. What is not found so is then looked for along its path.
        fields = dict(zip(self._targets, map(record.get, self._keys)))  # noqa: B905 - strict takes 0.7 us, of 2 us in all
        if self._constants:
            fields.update(self._constants)
        made = 0
        for target, key, walk in self._walks:
            if fields[target] is None and key not in record:
                fields[target] = value = walk(record)
                if type(value) is list and len(value) > LONG:
                    made = _counted(made, value)
        if not self._steps:
            return fields
        reasons: list[str] = []
        spent = self._spent
        if self._limited:
            spent.begin()
        limit = deadline.current()
        for target, step in self._steps:
            if limit is not None:
                limit.check()
            try:
                fields[target] = value = step(fields[target])
            except RecordRejected as rejected:
                reasons += [f"{target}: {reason}" for reason in rejected.reasons]
                if spent.is_over:
                    break
            else:
                kind = value.__class__
                if (kind is str or kind is list) and len(value) > LONG:  # type: ignore[arg-type]
                    made = _counted(made, value)
        if reasons:
            raise RecordRejected(reasons)
        return fields

    def wire(self) -> list[dict[str, Any]]:
        """The JSON that the mapping was made from, as it was given, but for values in choices that an earlier key has."""
        return self._wire

    def __repr__(self) -> str:
        return f"Mapping({len(self.rules)} rules)"


@dataclass(slots=True)
class _Program:
    """What is done for one rule: at most one of `constant` and `walk`, then `step`."""

    target: str
    key: str
    constant: str | None = None
    walk: Getter | None = None
    step: Step | None = None


def compile_mapping(rules: object) -> Mapping:
    """The mapping that a list of rules describes (transform jobs contract, "Mappings"); an empty list maps nothing.

    Raises `BadMapping`, naming the rule and the field that is wrong, and `BadTransform` with the rule's place and the position
    in its chain.
    """
    try:
        wire = check_json(rules, "mapping", maximum=MAX_BYTES)
    except InvalidInput as error:
        raise BadMapping(str(error)) from None
    if not isinstance(wire, list):
        raise BadMapping(f"mapping must be a list of rules such as {_EXAMPLE}, not {shown(wire)}")
    if len(wire) > MAX_RULES:
        raise BadMapping(f"mapping must have at most {MAX_RULES:,} rules, not {len(wire):,}")
    compiler = _Compiler(counts=sum(map(_price, wire)) > _FEW)
    for place, each in enumerate(wire):
        compiler.add(place, each)
    return Mapping(compiler, wire)


def _price(given: object) -> int:
    """What a rule takes for each character, or more: before anything of it is checked."""
    if not isinstance(given, dict):
        return 0
    return price(str(given.get("transform"))) + ("choices" in given)


class _Compiler:
    def __init__(self, *, counts: bool) -> None:
        self.counts = counts
        self.rules: list[Rule] = []
        self.programs: list[_Program] = []
        self.spent = Spent()
        self.targets: dict[str, int] = {}
        self.calls = 0
        self.patterns = 0

    def add(self, place: int, given: object) -> None:
        what = f"mapping[{place}]"
        if not isinstance(given, dict):
            raise BadMapping(f"{what} must be a rule such as {_EXAMPLE}, not {shown(given)}")
        for key in given:
            if key not in _KNOWN:
                raise BadMapping(f"{what} has no field {shown(key)}; a rule has {', '.join(_KNOWN)}")
        choices = _choices(given.get("choices"), f"{what}.choices")
        if choices is not None:
            given["choices"] = _unordered(given["choices"], choices)
        rule = Rule(
            source_field=_text(given, "sourceField", what),
            target_field=_text(given, "targetField", what),
            transform=None if given.get("transform") is None else _text(given, "transform", what),
            choices=choices,
            confidence=_confidence(given.get("confidence"), f"{what}.confidence"),
        )
        first = self.targets.setdefault(rule.target_field, place)
        if first != place:
            raise BadMapping(
                f"{what}.targetField: {shown(rule.target_field)} already gets its value from mapping[{first}]"
            )
        self.rules.append(rule)
        self.programs.append(self.program(place, rule))

    def program(self, place: int, rule: Rule) -> _Program:
        program = _Program(rule.target_field, rule.source_field)
        try:
            path = parse_path(rule.source_field)
        except BadMapping as error:
            raise BadMapping(f"mapping[{place}].sourceField {error}") from None
        if isinstance(path, Constant):
            program.constant = path.text
        elif path != (rule.source_field,):
            program.walk = getter(path)
        if rule.transform is not None:
            program.step = self.chain(place, rule.transform)
        if rule.choices is not None:
            choose = _choosing(rule.choices, self.spent if self.counts else None)
            program.step = choose if program.step is None else _both(program.step, choose)
        return program

    def chain(self, place: int, text: str) -> Step:
        try:
            chain = parse(text)
            self.count(place, chain)
            return compiled(chain, self.spent, counts=self.counts)
        except BadTransform as error:
            raise BadTransform(f"mapping[{place}].transform: {error}", position=error.position, rule=place) from None

    def count(self, place: int, chain: Chain) -> None:
        self.calls += len(chain.calls)
        self.patterns += sum(call.name == "match" for call in chain.calls)
        if self.calls > MAX_CALLS:
            raise BadMapping(
                f"mapping must have at most {MAX_CALLS:,} calls in its transforms; mapping[{place}] has one more"
            )
        if self.patterns > MAX_PATTERNS:
            raise BadMapping(f"mapping must have at most {MAX_PATTERNS} calls of match; mapping[{place}] has one more")


def _counted(made: int, value: Any) -> int:
    made += len(value)
    if made > MAX_MADE:
        raise RecordRejected([f"the mapping makes more than {MAX_MADE:,} characters and elements of it"])
    return made


def _text(rule: Map[str, Any], name: str, what: str) -> str:
    if name not in rule:
        raise BadMapping(f"{what} must have a {name}: a rule is such as {_EXAMPLE}")
    # Paths and chains have limits of their own, with positions.
    maximum = MAX_NAME if name == "targetField" else MAX_BYTES
    try:
        return check_text(rule[name], f"{what}.{name}", maximum=maximum, empty=name == "transform")
    except InvalidInput as error:
        raise BadMapping(str(error)) from None


def _choices(given: object, what: str) -> Choices | None:
    if given is None:
        return None
    if not isinstance(given, dict) or not given:
        raise BadMapping(f'{what} must be an object such as {{"Available": ["yes", "1"]}}, not {shown(given)}')
    choices: dict[str, tuple[str, ...]] = {}
    for key, values in given.items():
        if not isinstance(values, list):
            raise BadMapping(f"{what}: {shown(key)} must have a list of texts, not {shown(values)}")
        choices[key] = tuple(_choice(value, f"{what}: {shown(key)}[{place}]") for place, value in enumerate(values))
    if sum(map(len, choices.values())) > MAX_CHOICES:
        raise BadMapping(f"{what} must have at most {MAX_CHOICES:,} values")
    return MappingProxyType(choices)


def _unordered(given: Map[str, list[Any]], choices: Choices) -> dict[str, list[Any]]:
    """The same choices without what an earlier key has: PostgreSQL and MySQL keep an object's keys in an order of their own."""
    first: dict[str, str] = {}
    for key, texts in choices.items():
        for text in texts:
            first.setdefault(text, key)
    return {
        key: [value for value, text in zip(given[key], texts, strict=True) if first[text] == key]
        for key, texts in choices.items()
    }


def _choice(value: object, what: str) -> str:
    text = text_of(value) if isinstance(value, (str, int, float)) else None
    if text is None:
        raise BadMapping(f"{what} must be a text, a number or a boolean, not {shown(value)}")
    return text


def _confidence(given: object, what: str) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
        raise BadMapping(f"{what} must be a number from 0 to 1, not {shown(given)}")
    return float(given)


def _choosing(choices: Choices, spent: Spent | None) -> Step:
    chosen: dict[str | None, str] = {}
    for key, values in choices.items():
        for value in values:
            chosen.setdefault(value, key)
    default = chosen.get("")

    def choose(value: Value) -> Value:
        if type(value) is str:
            return chosen.get(value, default)
        text = text_of(value)
        if spent is not None and text is not None and len(text) > LONG // JSON:
            spent.read(len(text) * JSON)
        return chosen.get(text, default)

    return choose


def _both(first: Callable[[Value], Value], second: Step) -> Step:
    return lambda value: second(first(value))
