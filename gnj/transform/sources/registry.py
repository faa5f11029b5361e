"""Who reads sources of which type (transformation jobs contract, "Sources")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias, TypeVar

from gnj.queue.errors import InvalidInput
from gnj.queue.values import shown
from gnj.transform.errors import BadSource, NoHandler
from gnj.transform.sources import builtin
from gnj.transform.sources.fetch import Fetch
from gnj.transform.sources.items import Bad
from gnj.transform.values import Record

SOURCE_TYPES: Final = tuple(
    "Request Feed Index Shopify Algolia CJ Awin Impact_com Partnerize ShareASale Rakuten ClickBank FlexOffers Custom".split()
)
"""The names of the contract's enum SourceType."""

Fetcher: TypeAlias = Callable[[Fetch], Iterator[Record | Bad]]
"""Reads a source, record by record."""

F = TypeVar("F", bound=Fetcher)


class SourceRegistry:
    """The fetchers of source types: `Request`, `Feed` and `Shopify`, and those that the host adds."""

    def __init__(self) -> None:
        self._fetchers: dict[str, Fetcher] = {
            "Request": builtin.document,
            "Feed": builtin.document,
            "Shopify": builtin.shopify,
        }
        self._builtin = frozenset(self._fetchers)

    def source(self, name: str) -> Callable[[F], F]:
        """Registers the function below it for sources of that type: `@registry.source("Awin")`.

        Raises InvalidInput for a name that is no source type, and for one that has a fetcher.
        """
        if name not in SOURCE_TYPES:
            raise InvalidInput(f"a source type is one of {', '.join(SOURCE_TYPES)}, not {shown(name)}")
        if name in self._fetchers:
            raise InvalidInput(f"sources of the type {name} have a fetcher already")

        def register(fetcher: F) -> F:
            self._fetchers[name] = fetcher
            return fetcher

        return register

    def fetcher(self, name: str) -> Fetcher:
        """Who reads sources of a type. Raises `NoHandler`, and `BadSource` for what is no type."""
        if name not in SOURCE_TYPES:
            raise BadSource(f"type must be one of {', '.join(SOURCE_TYPES)}, not {shown(name)}")
        if name not in self._fetchers:
            raise NoHandler(f"no handler is registered for sources of the type {name}")
        return self._fetchers[name]

    def is_builtin(self, name: str) -> bool:
        """Whether sources of a type are read by gnj itself."""
        return name in self._builtin
