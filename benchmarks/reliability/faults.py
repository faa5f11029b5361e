"""What goes wrong, and when: drawn beforehand by a seeded generator, as a share of the work, not of the clock."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from benchmarks.reliability.options import Options
from benchmarks.reliability.processes import Fleet, Server, Worker, freeze
from benchmarks.reliability.trace import clock

KILL, STOP, CUT, RESTART = "kill", "stop", "cut", "restart"
_OF_SERVERS = 0.25
"""The share of the faults that meet a server, not a worker."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    mark: int
    """It comes when so many jobs are done."""
    kind: str
    server: bool
    victim: float
    """Which one, as a share of those there are."""
    seconds: float
    """How long it is frozen, or gone."""


def schedule(options: Options) -> list[Fault]:
    """The faults of a run, in their order."""
    chance = random.Random(f"faults {options.seed}")
    wanted = {KILL: options.kills, STOP: options.stops, RESTART: options.restarts, CUT: options.cuts}
    faults = []
    for kind, number in wanted.items():
        for _ in range(number):
            server = chance.random() < _OF_SERVERS
            # a server that stands still for long only makes the run longer: its clients leave it
            longest = 1.0 if server or kind != STOP else 2.0 * options.lease
            faults.append(
                Fault(
                    mark=round(options.jobs * chance.uniform(0.02, 0.9)),
                    kind=kind,
                    server=server,
                    victim=chance.random(),
                    seconds=chance.uniform(0.1, longest),
                )
            )
    return sorted(faults, key=lambda fault: fault.mark)


@dataclass(slots=True)
class Damage:
    """What was done, for the oracle and the report."""

    killed: dict[str, int] = field(default_factory=dict)
    """Workers killed, and when (`trace.clock`)."""
    counts: dict[str, int] = field(default_factory=dict)


class Faults:
    """Brings the faults about.

    Args:
        fleet: The processes.
        engine: Reaches the database, to cut the connections of others.
    """

    def __init__(self, fleet: Fleet, engine: Engine) -> None:
        self._fleet = fleet
        self._engine = engine
        self._frozen: list[tuple[float, Worker | Server]] = []
        self.damage = Damage()

    def bring(self, fault: Fault) -> None:
        """Brings one about; where nobody is left to suffer it, nothing."""
        suffer: dict[tuple[str, bool], Callable[[Any, float], None]] = {
            (KILL, False): self._kill_worker,
            (KILL, True): lambda server, seconds: self._fleet.end_server(server, signal.SIGKILL, seconds),
            (RESTART, False): lambda worker, _: self._fleet.restart_worker(worker),
            (RESTART, True): lambda server, _: self._fleet.end_server(server, signal.SIGTERM, 0.0),
            (STOP, False): self._freeze,
            (STOP, True): self._freeze,
        }
        if fault.kind == CUT:
            self._cut(fault.victim)
            return
        # one of each kind goes on, that the others' work can be taken over
        servers = [each for each in self._fleet.servers if each.process is not None and not each.frozen]
        workers = [each for each in self._fleet.workers if not each.frozen]
        server = fault.server and len(servers) > 1
        awake: Sequence[Worker | Server] = servers if server else workers
        if server or len(workers) > (1 if fault.kind == STOP else 0):
            suffer[fault.kind, server](awake[int(fault.victim * len(awake))], fault.seconds)
            self._count(f"{fault.kind} {'server' if server else 'worker'}")

    def look_after(self, *, thaw_all: bool = False) -> None:
        """Lets go on what was frozen for long enough."""
        now = time.monotonic()
        for end, process in list(self._frozen):
            if thaw_all or end <= now:
                self._frozen.remove((end, process))
                known = process in self._fleet.workers or process in self._fleet.servers
                if known and (isinstance(process, Worker) or process.process is not None):
                    freeze(process, frozen=False)

    def _kill_worker(self, worker: Worker, _: float) -> None:
        self.damage.killed[worker.name] = clock()
        self._fleet.kill_worker(worker)

    def _freeze(self, process: Worker | Server, seconds: float) -> None:
        freeze(process, frozen=True)
        self._frozen.append((time.monotonic() + seconds, process))

    def _cut(self, victim: float) -> None:
        """Has the database end the connection of somebody."""
        postgresql = self._engine.dialect.name == "postgresql"
        theirs = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid"
            if postgresql
            else "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID() ORDER BY id"
        )
        with closing(self._engine.connect()) as connection:
            ids = list(connection.execute(text(theirs)).scalars())
            if not ids:
                return
            id = int(ids[int(victim * len(ids))])
            try:
                connection.execute(
                    text(f"SELECT pg_terminate_backend({id})" if postgresql else f"KILL CONNECTION {id}")
                )
            except DBAPIError:  # it was gone already
                return
        self._count("cut connection")

    def _count(self, what: str) -> None:
        self.damage.counts[what] = self.damage.counts.get(what, 0) + 1
