"""The jobs dialect: the GraphQL API that clients of GNJ 5.1.0 speak.

The composition root makes the engine from the schema, and the routes from the engine:
`engine = Engine(build_schema(), Rules(...))`, `routes(engine, queue, guard)`. Calls from within the process go past the
guard: `engine.execute(query, variables, context=context(queue, principal))`.
"""

from gnj.api.jobs.custom import Custom
from gnj.api.jobs.roots import context
from gnj.api.jobs.schema import build_schema, routes, sdl, streams

__all__ = ["Custom", "build_schema", "context", "routes", "sdl", "streams"]
