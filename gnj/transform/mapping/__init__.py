"""Mappings: how the fields of a source's records become those of a target, in a small language of its own.

A rule has a path (`paths`), a chain of functions (`grammar` reads it, `functions` says what they do) and choices. All of it is
read when a mapping is saved; for each record only the functions run. Nothing of a mapping is ever evaluated as code or used as
a format, and each function ends within bounds of time and of size (security.md, "Transform/mapping").
"""

from gnj.transform.mapping.rules import Mapping, Rule, compile_mapping

__all__ = ["Mapping", "Rule", "compile_mapping"]
