"""Which tests run on PostgreSQL when nobody asks for the slow ones.

The databases differ in statements, plans, locks and what they refuse: what is about these runs on both. Of what goes through the
same statements once more, with other values or by way of the API, all of it runs on SQLite and some of each sort on PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import pytest

_VARIANTS: Final[Mapping[str, Collection[str]]] = {
    # of the contract: each sort of operation stands in one of these four
    "test_each_step_can_be_done_twice": ("delete by a filter", "delete of a field", "clone"),
    "test_a_later_try_goes_on_wherever_an_earlier_one_was_killed": ("copy", "drop", "reindex"),
    "test_what_was_begun_can_be_taken_back": ("delete of labels", "sync"),
    "test_two_may_be_at_it_at_once": ("delete all", "copy", "sync"),
    "test_texts_are_compared_as_they_are": ("Id", "Slug"),
    "test_times_are_compared_by_the_millisecond": ("PublishedAt",),
    # of the operations
    "test_a_field_is_taken_from_model_and_entries": ('a"b', r"\xfc\\"),
    "test_a_site_or_model_that_is_not_there_is_a_warning": ("True-named0",),
    "test_ids_of_sites_may_be_any_text": ('a"b', r"\U0001f600"),
    "test_it_follows_whatever_is_changed": ("1",),
    "test_site_model_and_filter_must_all_be_met": ("live-page-s1", "None-None-None"),
}
"""Tests, and those of their parameters with which they run on PostgreSQL."""
_TESTS: Final[Mapping[str, Collection[str]]] = {
    "test_delete_types": (),
    "test_every_type": ("test_an_environment_is_copied_synced_and_deleted", "test_an_export_can_be_imported_again"),
    "test_kill_import": (),  # on both, a process of `test_store_kills` is killed, and one of `test_operation_kills`
    "test_recurring_ticks": ("test_a_tick_makes_one_job_however_many_look", "test_ticks_that_were_missed_make_one_job"),
    "test_seed_examples": (),
    "test_transfers": ("test_entries_there_and_back",),
}
"""Modules above the store, and those of their tests that run on PostgreSQL."""


def is_chosen(item: pytest.Item) -> bool:
    """Whether a test of content runs by default, as far as its database is concerned."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return True
    if item.callspec.params.get("backend") != "postgresql":
        return True
    if item.callspec.params.get("client") == "wsgi":
        return False
    name, variant = item.originalname, item.callspec.id.removeprefix("postgresql-")
    return variant in _VARIANTS.get(name, (variant,)) and name in _TESTS.get(item.path.stem, (name,))
