"""Processes of the tests' own."""

from __future__ import annotations

import multiprocessing
from typing import Final

FORKSERVER: Final = multiprocessing.get_context("forkserver")
"""Starts processes that share nothing with the tests, from one that has imported what they need: that alone takes half a second
of a processor each, and the tests start hundreds.
"""
FORKSERVER.set_forkserver_preload(["gnj.storage.sql", "gnj.queue.service"])
