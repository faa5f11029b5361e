"""Runs of transformation jobs that recur: what a tick of a schedule of theirs makes.

Apart from the runs themselves (`gnj.queue.transforms`), since whoever looks at schedules must know what those of others make: a plain
worker too, which has no runs to start until such a tick is due, and loads none of what these need (0.4 MB) before.
"""

from __future__ import annotations

from typing import Any

from gnj.queue.model import Job, Schedule
from gnj.queue.storage import Rows
from gnj.queue.unit import Unit


class RunMaker:
    """Starts the run of a tick of a transformation job's schedule; a `gnj.queue.schedules.Maker`."""

    def make(self, unit: Unit, row: Schedule) -> Job:
        """The job that does the run. Raises `NotFound` for a schedule of no job."""
        from gnj.queue import transforms  # noqa: PLC0415 - see above

        return transforms.start_scheduled(unit, row)

    def busy(self, tx: Rows, row: Schedule) -> bool:
        """Whether a run of the job is not over."""
        from gnj.queue import transforms  # noqa: PLC0415 - see above

        return transforms.is_running(tx, row)

    def skipped(self, unit: Unit, row: Schedule, at: Any) -> None:
        """Nothing: the tick says so itself."""
