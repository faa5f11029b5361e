"""The face of transformation jobs: GraphQL at `/transform/graphql`."""

from gnj.api.transform.face import Face
from gnj.api.transform.schema import build_schema, make_engine, routes, sdl, streams
from gnj.api.transform.waiting import Waiting

__all__ = ["Face", "Waiting", "build_schema", "make_engine", "routes", "sdl", "streams"]
