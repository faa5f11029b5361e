"""What the GraphQL faces share: limits, the document cache, scalars, errors and the engine. It knows no job words."""
