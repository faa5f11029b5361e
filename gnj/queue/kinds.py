"""What gnj's own pipelines and schedules are called.

Apart from what follows them: whoever moves a pipeline or looks at schedules must know which are gnj's own, a plain worker too, which
loads nothing of transformation jobs (0.4 MB).
"""

from __future__ import annotations

from typing import Final

CONTENT: Final = "content"
"""The kind of the pipelines that content jobs follow."""
TRANSFORM: Final = "transform"
"""The kind of the pipelines that runs of transformation jobs follow."""
SYNC: Final = "gnj:content.sync"
"""The type that recurring syncs have in their schedules; no job has it."""
SCHEDULE: Final = "gnj:transform"
"""The type that the schedules of transformation jobs have; no job has it."""
