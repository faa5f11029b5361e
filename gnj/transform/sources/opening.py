"""A source, checked when it is saved and read when it is run."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain, islice

from gnj.fetch.address import BadUrl, OddAddress, place_of
from gnj.fetch.policy import Blocked, Policy
from gnj.fetch.waits import GoOn
from gnj.queue.errors import InvalidInput
from gnj.queue.values import check_json, clean_text
from gnj.transform.errors import AddressRefused, BadSource, SourceFailed
from gnj.transform.sources.fetch import Fetch, Http, Unchanged
from gnj.transform.sources.items import Bad, Validators, no_record
from gnj.transform.sources.registry import Fetcher, SourceRegistry
from gnj.transform.sources.source import Source, outgoing
from gnj.transform.sources.templates import check_credentials
from gnj.transform.values import Record

logger = logging.getLogger("gnj.transform")


def check_source(source: Source, registry: SourceRegistry, policy: Policy) -> None:
    """Refuses a source that could not be read. Calls nobody, and looks up no name.

    Args:
        source: What is to be saved.
        registry: Who reads sources.
        policy: Where they may lead (`Http.policy`).

    Raises `NoHandler`, `BadSource`, and `AddressRefused` for an address that may not be called; none of them tells credentials.
    """
    registry.fetcher(source.type)
    request = outgoing(source, check_credentials(source.credentials))
    if not request.url:
        if registry.is_builtin(source.type):
            raise BadSource(f"url is missing, which sources of the type {source.type} need")
        return
    if source.type == "Shopify" and (request.method != "GET" or request.body):
        raise BadSource("sources of the type Shopify are read with GET: sourceMethod and sourceBody do not apply")
    try:
        check_address(request.url, policy)
    except BadUrl as error:
        raise BadSource(f"url: {error}") from None


def check_address(url: str, policy: Policy) -> None:
    """Raises `AddressRefused` for a URL that may not be called, wherever its name leads to, and `BadUrl` for what is none."""
    try:
        place_of(url)
        policy.check_url(url)
    except (OddAddress, Blocked) as error:
        raise AddressRefused(f"url: {error}") from None


class Opened:
    """A source that is open: iterate over it, once."""

    def __init__(self, fetch: Fetch, items: Iterator[Record | Bad]) -> None:
        self._fetch = fetch
        self._items = items

    @property
    def unchanged(self) -> bool:
        """Whether it said that nothing has changed since the validators it was opened with; then it has no records here."""
        return self._fetch.is_unchanged

    @property
    def validators(self) -> Validators:
        """To open it with the next time, once all that it has here was dealt with, and not before."""
        return self._fetch.validators if self.unchanged else self._fetch.seen

    def __iter__(self) -> Iterator[Record | Bad]:
        """Its records; `Bad` for what should be one. Raises `SourceFailed`, after the records before the fault."""
        return self._items


@contextmanager
def open_source(
    source: Source,
    registry: SourceRegistry,
    http: Http,
    validators: Validators | None = None,
    go_on: GoOn | None = None,
) -> Iterator[Opened]:
    """Opens a source, up to its first record; whoever leaves it before its end is sent no more of it.

    Args:
        source: Which. It is checked again, but for its address, which each request is held to.
        registry: Who reads it.
        http: The way to it.
        validators: What it said when it was last read to its end.
        go_on: Asked about every second while it is waited for, and with each piece that comes; what it raises ends the reading.

    Raises `SourceFailed`, here and while it is iterated over; `BadSource` and `NoHandler` here.
    """
    fetch = Fetch(source, http, validators, go_on)
    with closing(_read(registry.fetcher(source.type), fetch, trusted=registry.is_builtin(source.type))) as items:
        first = list(islice(items, 1))
        yield Opened(fetch, chain(first, items))


def _read(fetcher: Fetcher, fetch: Fetch, *, trusted: bool) -> Generator[Record | Bad]:
    """What a fetcher gives; of one that is not `trusted`, each is checked."""
    items: Iterator[Record | Bad] = iter(())
    try:
        items = fetcher(fetch)
        yield from items if trusted else _checked(items)
    except Unchanged:
        fetch.is_unchanged = True
    except SourceFailed:
        raise
    except Exception as error:
        if error is fetch.ended_by:
            raise
        # a message of others may have an address in it, or credentials: told is where it was raised
        where = "".join(traceback.format_tb(error.__traceback__))
        logger.error("reading a source of the type %s failed: %s\n%s", fetch.source.type, type(error).__name__, where)  # noqa: TRY400
        raise SourceFailed(f"reading the source failed: {type(error).__name__}", final=False) from None
    finally:
        if isinstance(items, Generator):
            items.close()


def _checked(items: Iterable[object]) -> Iterator[Record | Bad]:
    for position, each in enumerate(items):
        if isinstance(each, Bad):
            yield Bad(each.position, clean_text(each.reason), clean_text(each.text))
            continue
        try:
            record = check_json(each, "the record")
        except InvalidInput as error:
            yield Bad(position, str(error))
            continue
        yield record if isinstance(record, dict) else no_record(position, record)
