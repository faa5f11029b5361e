"""What can be set, in one place: keyword, else `GNJ_…` environment variable, else default."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, get_args, get_type_hints

from gnj.graphql.limits import Limits
from gnj.queue.errors import InvalidInput
from gnj.queue.runner import DEFAULT_LEASE
from gnj.queue.values import check_int, check_seconds, shown
from gnj.queue.zones import zone
from gnj.settings_content import ContentLimits
from gnj.settings_transform import SourceLimits, TransformLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a `GNJ` takes from its surroundings.

    Args:
        database: Where the jobs are: `sqlite:///file`, `postgresql://…` or `memory://`. `GNJ_DATABASE`.
        lease: Seconds that a claim lasts which asks for no lease of its own. `GNJ_LEASE`.
        token: A bearer token that every request must carry; none: only this machine may ask. `GNJ_TOKEN`.
        prefix: Begins the name of every table. `GNJ_PREFIX`.
        schema: The database schema of the tables, where the database has schemas. `GNJ_SCHEMA`.
        pool_size: Connections to the database, and so requests that use it at once. `GNJ_POOL_SIZE`.
        retention: Seconds for which ended jobs are kept once the application serves; 0: for ever, only what was deleted
            is pruned; none: nothing is. `GNJ_RETENTION`.
        graphiql: Whether browsers get GraphiQL at `/graphql`; none: those of callers who may ask, while introspection is
            on. `GNJ_GRAPHIQL`.
        origins: Origins of pages, as `https://app.example`, that may open a WebSocket, change anything over REST, and send and
            fetch files by signed URLs, besides those of the server itself. `GNJ_ORIGINS`, separated by commas.
        fetch_allow: Where push workers and sources may be called besides the ports 80 and 443 of public addresses: hosts,
            `host:port`, or `:port` for all public addresses. `GNJ_FETCH_ALLOW`, separated by commas.
        env: "production" turns introspection off, as a token does. `GNJ_ENV`.
        limits: The bounds of a request. Without them, each of its fields has a variable: `GNJ_LIMIT_MAX_BODY` for
            `max_body`, and so on.
        files: Where content jobs keep files: a directory, or `s3://bucket/prefix`. `GNJ_FILES`.
        files_endpoint: The URL of an S3-compatible server, where it is not Amazon's. `GNJ_FILES_ENDPOINT`.
        public_url: What the application's address is for clients, as `https://jobs.example/queue`: begins the URLs that files are
            sent to and fetched from; none: as each request was addressed. `GNJ_PUBLIC_URL`.
        content_workers: Tasks of content jobs that are worked here at once while the application serves; 0: none is.
            `GNJ_CONTENT_WORKERS`.
        time_zone: In which the cron expressions of content jobs are read, by its name in the IANA database. `GNJ_TIME_ZONE`.
        content_limits: The bounds of content jobs. Without them, each of its fields has a variable: `GNJ_CONTENT_MEMBER`
            for `member`, and so on.
        secret_keys: What the credentials of sources are encrypted with: keys of Fernet. The first one encrypts, each decrypts.
            `GNJ_SECRET_KEYS`, separated by commas.
        phone_region: The country, two letters, of phone numbers that do not tell theirs. `GNJ_PHONE_REGION`.
        transform_workers: Runs of transformation jobs that are done here at once while the application serves, all but one of them of
            one tenant at most; 0: none is. `GNJ_TRANSFORM_WORKERS`.
        transform_limits: The bounds of transformation jobs. Without them, each of its fields has a variable:
            `GNJ_TRANSFORM_BATCH` for `batch`, and so on.
        source_limits: The bounds of their sources; likewise, `GNJ_SOURCE_IDLE` for `idle`.
    """

    database: str = "sqlite:///gnj.db"
    lease: float = DEFAULT_LEASE
    token: str | None = None
    prefix: str = "gnj_"
    schema: str | None = None
    pool_size: int = 10
    retention: float | None = None
    graphiql: bool | None = None
    origins: Sequence[str] = ()
    fetch_allow: Sequence[str] = ()
    env: str = "development"
    limits: Limits = field(default_factory=Limits)
    files: str = "gnj-files"
    files_endpoint: str | None = None
    public_url: str | None = None
    content_workers: int = 2
    time_zone: str = "UTC"
    content_limits: ContentLimits = field(default_factory=ContentLimits)
    secret_keys: Sequence[str] = field(default=(), repr=False)
    phone_region: str = "US"
    transform_workers: int = 3
    transform_limits: TransformLimits = field(default_factory=TransformLimits)
    source_limits: SourceLimits = field(default_factory=SourceLimits)

    @classmethod
    def of(cls, keywords: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings that `keywords` and `environment` make; keywords that are None are not given.

        Raises `InvalidInput`, naming the setting, for an unknown one and for a value that it cannot have.
        """
        known = get_type_hints(cls)
        if unknown := sorted(name for name in keywords if name not in known):
            raise InvalidInput(f"there is no setting {', '.join(unknown)}; there are: {', '.join(known)}")
        values = {name: value for name, value in keywords.items() if value is not None}
        for name, (kind, prefix, module) in _LIMITS.items():
            if name not in values:
                values[name] = kind(**_bounds(kind, prefix, environment))
            elif not isinstance(values[name], kind):
                raise InvalidInput(f"{name} must be {module}.{kind.__name__}(…), not {shown(values[name])}")
        for each in fields(cls):
            variable = f"GNJ_{each.name.upper()}"
            text = environment.get(variable)
            if text and each.name not in values:
                values[each.name] = _read(text, known[each.name], variable)
        _check(values)
        return cls(**values)


def _check(values: dict[str, Any]) -> None:
    """Refuses what would be found out later, far from where it was given; what others check as they take it is left to them."""
    for name in ("token", "prefix", "schema", "env", "files", "files_endpoint", "public_url", "phone_region"):
        if not isinstance(values.get(name, ""), str):
            # without the value, which may be a secret
            raise InvalidInput(f"{name} must be a string, not a value of the type {type(values[name]).__name__}")
    for name in ("origins", "fetch_allow"):
        given = values.get(name, ())
        if (
            isinstance(given, str)
            or not isinstance(given, Collection)
            or not all(isinstance(each, str) for each in given)
        ):
            raise InvalidInput(f"{name} must be a list of strings, not {shown(given)}")
    if not all(map(_is_key, values.get("secret_keys", ()))) or isinstance(values.get("secret_keys"), str):
        # likewise
        raise InvalidInput("secret_keys must be a list of keys of Fernet: 32 bytes in URL-safe base64 each")
    if "retention" in values:
        values["retention"] = check_seconds(values["retention"], "retention")
    if not values.get("files", "x"):
        raise InvalidInput("files must not be empty")
    for name in ("content_workers", "transform_workers"):
        if name in values:
            check_int(values[name], name, low=0, high=_MOST_WORKERS)
    if "phone_region" in values and not _REGION.fullmatch(values["phone_region"]):
        raise InvalidInput(
            f"phone_region must be the two capital letters of a country, such as DE, not {shown(values['phone_region'])}"
        )
    if "time_zone" in values:
        zone(values["time_zone"], "time_zone")
    if "public_url" in values:
        if not values["public_url"].startswith(("http://", "https://")):
            raise InvalidInput(f"public_url must begin with http:// or https://, not {shown(values['public_url'])}")
        values["public_url"] = values["public_url"].rstrip("/")


def _is_key(key: object) -> bool:
    try:
        return isinstance(key, str) and len(base64.b64decode(key, altchars=b"-_", validate=True)) == _KEY
    except (binascii.Error, ValueError):
        return False


def _bounds(kind: type[Any], prefix: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says of the fields of `kind`."""
    known = get_type_hints(kind)
    given = {name: variable for name in known if environment.get(variable := prefix + name.upper())}
    return {name: _read(environment[variable], known[name], variable) for name, variable in given.items()}


def unknown_variables(environment: Mapping[str, str] = os.environ) -> Sequence[str]:
    """Variables that begin as those of bounds do (`GNJ_LIMIT_…`, `GNJ_SOURCE_…` and so on) and mean nothing: slips."""
    known = {f"GNJ_{each.name.upper()}" for each in fields(Settings)}
    known |= {prefix + name.upper() for kind, prefix, _ in _LIMITS.values() for name in get_type_hints(kind)}
    prefixes = tuple(prefix for _, prefix, _ in _LIMITS.values())
    return sorted(name for name in environment if name.startswith(prefixes) and name not in known)


_KEY: Final = 32
"""Bytes."""
_LIMITS: Final[Mapping[str, tuple[type[Any], str, str]]] = {
    "limits": (Limits, "GNJ_LIMIT_", "gnj"),
    "content_limits": (ContentLimits, "GNJ_CONTENT_", "gnj.settings_content"),
    "transform_limits": (TransformLimits, "GNJ_TRANSFORM_", "gnj.settings_transform"),
    "source_limits": (SourceLimits, "GNJ_SOURCE_", "gnj.settings_transform"),
}
"""The settings that are bounds: their classes, what their variables begin with, and where hosts find the classes."""
_MOST_WORKERS: Final = 64
_REGION: Final = re.compile("[A-Z]{2}")
"""Which of these are countries is known to what reads phone numbers: `gnj.serving` asks it once transformation jobs are needed."""
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _read(text: str, kind: Any, variable: str) -> Any:
    if kind == Sequence[str]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    kinds = get_args(kind) or (kind,)
    if bool in kinds:
        if text.lower() not in _WORDS:
            raise InvalidInput(f"{variable} must be true or false, not {shown(text)}")
        return _WORDS[text.lower()]
    number = next((each for each in (int, float) if each in kinds), None)
    if number is None:
        return text
    try:
        return number(text)
    except ValueError:
        raise InvalidInput(f"{variable} must be a number, not {shown(text)}") from None
