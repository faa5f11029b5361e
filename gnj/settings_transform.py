"""How much transformation jobs and their sources may take. Imports next to nothing, so that every room can read it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from gnj.queue.bounds import check_bounds, is_number
from gnj.queue.errors import InvalidInput

_MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceLimits:
    """The bounds of reading one source (transformation jobs contract, rulings: Sources).

    Each is a number greater than 0 - `redirects` may be 0 -, those in seconds may have a fraction; `InvalidInput`, naming the field,
    for any other. `GNJ(source_limits=…)` takes them, and the environment: `GNJ_SOURCE_IDLE` for `idle`, and so on.
    """

    connect: float = 60.0
    """Seconds until there is a connection, from the look-up of its name."""

    idle: float = 60.0
    """Seconds until something more comes."""

    total: float = 600.0
    """Seconds of waiting for the source in all: what is done with its records meanwhile does not count."""

    size: int = 2_048 * _MIB
    """Bytes of all that it sends, decoded."""

    redirects: int = 5
    """Redirects of one request."""

    record: int = 4 * _MIB
    """Bytes of one record: of its JSON, or of its text in XML and CSV."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, whole = getattr(self, field.name), field.type == "int"
            least = 0 if field.name == "redirects" else 1 if whole else 0.001
            if not is_number(value, whole=whole) or value < least:
                raise InvalidInput(
                    f"source_limits: {field.name} must be a {'whole ' if whole else ''}number of at least {least}, "
                    f"not {str(value)[:60]!r}"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class TransformLimits:
    """The bounds of transformation jobs: how many there are, what their runs write and keep, and what callers wait for.

    Each is a number greater than 0, those in seconds may have a fraction; `InvalidInput`, naming the field, for any other.
    `GNJ(transform_limits=…)` takes them, and the environment: `GNJ_TRANSFORM_BATCH` for `batch`, and so on.
    """

    wait_seconds: float = 30.0
    """Seconds for which `runJob` waits for the end of its run."""

    try_seconds: float = 30.0
    """Seconds that the reading of a source may take while its caller waits: to try a mapping, or to generate one. A request may have less."""

    jobs: int = 10_000
    """Transformation jobs of a tenant; as many sources, mappings and target formats, of each."""

    bytes: int = 64 * _MIB
    """Bytes of all sources, mappings and target formats of a tenant together: of their texts and JSON."""

    batch: int = 1_000
    """Records that a run writes with one transaction."""

    runs: int = 10
    """Runs of a job that are kept when another one begins, beside the last good one, with all that they wrote; it removes older ones."""

    rejected: int = 10_000
    """Rejected records of a run that are kept; all are counted."""

    rejected_characters: int = 10_000
    """Characters of the JSON of a rejected record that are kept."""

    def __post_init__(self) -> None:
        check_bounds(self, "transform_limits")
