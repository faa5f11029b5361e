"""A worker without a web server: handlers in a module, which `gnj worker` runs.

    cd examples
    python worker_only.py 3
    gnj worker worker_only:handlers --database sqlite:///primes.db

Any number of workers may share a database; on PostgreSQL they may be on other machines.
"""

import sys

import gnj

handlers = gnj.Handlers()


@handlers.handler("find-prime", timeout=60)
def find_prime(job: gnj.Job, ctx: gnj.Context) -> int:
    candidate = job.input["above"]
    while True:
        candidate += 1
        # a job that was cancelled is told so; it decides itself where it can stop
        if ctx.cancel_requested:
            raise gnj.CancelRequested(f"stopped at {candidate}")
        if candidate > 1 and all(candidate % divisor for divisor in range(2, int(candidate**0.5) + 1)):
            return candidate


def main(count: int) -> None:
    with gnj.GNJ("sqlite:///primes.db") as jobs:
        made = jobs.enqueue_many([gnj.NewJob("find-prime", {"above": 10**n}) for n in range(1, count + 1)])
        print(f"{len(made)} jobs wait for a worker")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
