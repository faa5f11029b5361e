"""Custom operations: what a host registers, and what of it can be said without GraphQL. Light: `import gnj` loads it."""
