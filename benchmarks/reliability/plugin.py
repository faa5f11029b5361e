"""A pytest plugin that lays the mutation which the environment names over gnj: `-p benchmarks.reliability.plugin`."""

from __future__ import annotations

from benchmarks.reliability.mutations import apply_from_environment

apply_from_environment()
