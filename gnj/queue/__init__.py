"""The pure core: records, state machines, rules, and the storage protocol."""
