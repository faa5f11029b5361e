"""Ids that stand as texts in the JSON of entries, which copies have to be told anew."""

from __future__ import annotations

from collections.abc import Mapping

from gnj.queue.values import Json


def mapped(value: Json, ids: Mapping[str, str]) -> Json:
    """The value in which each text, at any depth, that is one of `ids` is what that tells; the keys of objects stay."""
    if isinstance(value, str):
        return ids.get(value, value)
    if isinstance(value, list):
        return [mapped(each, ids) for each in value]
    if isinstance(value, dict):
        return {key: mapped(each, ids) for key, each in value.items()}
    return value
