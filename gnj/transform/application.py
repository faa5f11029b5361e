"""`Transform`: what transformation jobs need, in one place: those who save them, those who run them and those who show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from gnj.fetch.waits import GoOn
from gnj.queue.errors import InvalidInput
from gnj.queue.model_transform import TransformSource
from gnj.queue.service import Queue
from gnj.queue.values import Json, shown
from gnj.settings_transform import TransformLimits
from gnj.transform.formats import Handler
from gnj.transform.formats.model import HANDLED
from gnj.transform.requests import SourceRequest
from gnj.transform.sources import Bad, Fetcher, SourceRegistry, Validators
from gnj.transform.values import Record, Value
from gnj.transform.webhooks import Webhooks

Generator: TypeAlias = Callable[[Sequence[Record], Mapping[str, Any]], Sequence[Mapping[str, Any]]]
"""Proposes the rules of a mapping: from samples, for the definition of a target format."""

FetcherT = TypeVar("FetcherT", bound=Fetcher)
HandlerT = TypeVar("HandlerT", bound=Handler)
GeneratorT = TypeVar("GeneratorT", bound=Generator)


class Rules(Protocol):
    """A compiled mapping."""

    def apply(self, record: Record) -> Mapping[str, Value]:
        """The fields of a target, from those of a record. Raises `RecordRejected`."""

    def wire(self) -> Json:
        """The rules, as they are stored."""


class Target(Protocol):
    """A compiled target format."""

    def convert(self, mapped: Mapping[str, Value]) -> Mapping[str, Value]:
        """The record that the format takes. Raises `RecordRejected`."""

    def key(self, converted: Mapping[str, Value]) -> str | None:
        """What tells the record from others; None: nothing does."""

    def wire(self) -> Json:
        """The definition, as it is stored."""


class Reading(Protocol):
    """A source that is open."""

    @property
    def unchanged(self) -> bool:
        """Whether it said that it has not changed since: then it gives nothing."""

    @property
    def validators(self) -> Validators:
        """What it said of its version, once all that it gave was dealt with."""

    def __iter__(self) -> Iterator[Record | Bad]:
        """Its records, once. Raises `SourceFailed`."""


class Parts(Protocol):
    """What a transformation is made of (`gnj.transform.parts`)."""

    @property
    def version(self) -> str:
        """What tells the ways apart in which the same mapping and format may treat a record: release, settings, the host's handlers."""

    def mapping(self, rules: Any) -> Rules:
        """A mapping of such rules. Raises `BadMapping`, `BadTransform`."""

    def format(self, definition: Any) -> Target:
        """A target format. Raises `BadFormat`."""

    def propose(self, samples: Sequence[Record], definition: Json) -> Sequence[Json]:
        """Rules by which such records get into that format."""

    def stored(self, request: SourceRequest) -> dict[str, Any]:
        """A source as it is stored, its credentials encrypted. Raises `BadSource`, `NoHandler`, `AddressRefused`."""

    def open(
        self, source: TransformSource, validators: Validators | None, go_on: GoOn | None = None
    ) -> AbstractContextManager[Reading]:
        """Begins to read a source. Raises `SourceFailed`, and what `go_on` raises, which is asked while the source is waited for and read;
        so does the reading.
        """

    @property
    def webhooks(self) -> Webhooks:
        """What is told of the ends of runs."""

    def close(self) -> None:
        """Gives back what was opened."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """What a host has registered; it may do so at any time."""

    sources: SourceRegistry = field(default_factory=SourceRegistry)
    """Who reads sources of which type."""
    attributes: dict[str, Handler] = field(default_factory=dict)
    """What carries out `indexProductID`, `embedText` and `embedImage`, by these names."""
    generators: list[Generator] = field(default_factory=list)
    """The last one proposes mappings; gnj does where there is none."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """What transformation jobs work with. Nothing is connected before it is needed.

    Args:
        queue: Where the jobs are.
        parts: Mappings, formats, sources and proposals.
        limits: How much a run may take.
        hosts: What the host has registered.
    """

    queue: Queue
    parts: Parts
    limits: TransformLimits = field(default_factory=TransformLimits)
    hosts: Hosts = field(default_factory=Hosts)

    def source(self, name: str) -> Callable[[FetcherT], FetcherT]:
        """Has the decorated function read the sources of a type: `@jobs.transform.source("Awin")`; see `SourceRegistry.source`."""
        return self.hosts.sources.source(name)

    def attribute(self, name: str) -> Callable[[HandlerT], HandlerT]:
        """Has the decorated function carry out an attribute of target formats: `indexProductID`, `embedText` or `embedImage`.

        Raises `InvalidInput` for any other.
        """
        if name not in HANDLED:
            raise InvalidInput(
                f"an attribute that a host carries out is one of {', '.join(HANDLED)}, not {shown(name)}"
            )

        def register(handler: HandlerT) -> HandlerT:
            self.hosts.attributes[name] = handler
            return handler

        return register

    def generator(self, propose: GeneratorT) -> GeneratorT:
        """Has the decorated function propose mappings: `(samples, definition)`, whose result is checked as any mapping is."""
        self.hosts.generators.append(propose)
        return propose

    def close(self) -> None:
        """Gives back what was opened."""
        self.parts.close()
