"""`gnj schema`."""

from __future__ import annotations


def schema() -> None:
    """Print the GraphQL schema that gnj serves, in the schema definition language.

    For code generators and editors: `gnj schema > schema.graphql`.
    """
    from gnj.api.jobs import sdl

    print(sdl())
