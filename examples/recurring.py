"""Jobs that come again and again.

    pip install "gnj[server]"
    gnj worker recurring:jobs

In another shell: `gnj recurring list`, `gnj recurring pause nightly`, `gnj recurring run nightly`. Any number of workers may run:
each tick has one job. Written to gnj.db in the working directory.
"""

from __future__ import annotations

import gnj

jobs = gnj.GNJ("sqlite:///gnj.db")


@jobs.recurring("0 3 * * *", tz="Europe/Paris", missed="newest", max_attempts=3)
def nightly(job: gnj.Job) -> dict:
    """At three in the morning in Paris, once a day, also on the days on which clocks change."""
    tick = jobs.tick_of(job)
    return {"report_of": None if tick is None else tick.date().isoformat()}


@jobs.recurring(every=30, overlap=False, input={"inbox": "support"})
def poll(job: gnj.Job, ctx: gnj.Context) -> dict:
    """Every 30 seconds, unless the last one still runs."""
    ctx.progress({"inbox": job.input["inbox"]})
    return {"mails": 0}
