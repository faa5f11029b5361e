"""GraphiQL, from the wheel: the page a browser gets at `/graphql`, its assets, and the examples in its tabs."""

from gnj.api.graphiql.assets import Asset, Assets
from gnj.api.graphiql.examples import EXAMPLES, Example
from gnj.api.graphiql.page import POLICY, Explorer, prefers_html

__all__ = ["EXAMPLES", "POLICY", "Asset", "Assets", "Example", "Explorer", "prefers_html"]
