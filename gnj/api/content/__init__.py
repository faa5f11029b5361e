"""The face of content jobs: GraphQL below `/v2/{organization}/jobs`, and the files that are sent to it and fetched from it."""

from gnj.api.content.face import Face, OrganizationGuard
from gnj.api.content.schema import build_schema, routes, sdl, streams

__all__ = ["Face", "OrganizationGuard", "build_schema", "routes", "sdl", "streams"]
