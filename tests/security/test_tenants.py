"""Two tenants crossed over every operation of the schema: nothing of one is seen or changed by the other.

What the attacker is answered for a row of the victim must be what it is answered for a row that does not exist, word for
word; and whatever it does, every row of the victim stays as it was.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gnj.api.hooks import Principal
from gnj.api.jobs import context
from gnj.graphql.engine import Engine
from gnj.queue.catalog import RECORDS
from gnj.queue.service import Queue
from gnj.queue.storage import Select
from gnj.storage.memory import MemoryStorage
from tests.security import operations
from tests.security.operations import MISSING, SCHEMA, filled, foreign, text_of

ENGINE = Engine(SCHEMA)
VICTIM = "victim"
ATTACKERS = ["attacker", pytest.param("", marks=pytest.mark.slow)]
TIME = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]+Z)?")


class World:
    """One storage, in which everybody acts over the API."""

    def __init__(self, storage):
        self.storage = storage
        self.queue = Queue(storage, lease=3600.0, seed=0)

    def run(self, tenant: str, text: str, /, **variables: Any) -> dict[str, Any]:
        body = ENGINE.execute(text, variables, context=context(self.queue, Principal("somebody", tenant))).body
        for error in body.get("errors", ()):
            assert error["extensions"]["code"] != "INTERNAL_SERVER_ERROR", (text, variables, body)
        return body

    def value(self, tenant: str, text: str, /, **variables: Any) -> Any:
        body = self.run(tenant, text, **variables)
        assert "errors" not in body, (text, variables, body)
        (value,) = body["data"].values()
        return value

    def rows(self, tenant: str) -> dict[str, list[Any]]:
        """Everything that is stored of one tenant."""
        return {
            name: [row for row in self.storage.find(kind, Select(deleted=True)) if row.tenant == tenant]
            for name, kind in RECORDS.items()
        }

    def job(self, tenant: str, **given: Any) -> int:
        job = {"type": "own", **given}
        return int(self.value(tenant, "mutation($job: jobInput!) { jobCreate(job: $job) { id } }", job=job)["id"])

    def furnish(self) -> dict[str, list[int]]:
        """The victim's rows, each with a secret in it, by their kinds; jobs in every state."""
        secret = {"name": "PRIVATE", "input": {"PRIVATE": 1}, "type": "secret type"}
        jobs = [
            self.job(VICTIM, **secret, jobUniqueId="secret key"),
            self.job(VICTIM, **secret, status="failed", isRecoverable=True, output={"error": "PRIVATE"}),
            self.job(VICTIM, **secret, status="successful", output={"text": "PRIVATE"}),
            self.job(VICTIM, **secret, status="planned"),
            self.job(VICTIM, **secret | {"type": "PRIVATE claimed"}),
        ]
        claimed = 'mutation { acquireJob(typeList: ["PRIVATE claimed"], workerId: "PRIVATE") { id } }'
        assert self.value(VICTIM, claimed)["id"] == jobs[-1]
        add = "mutation($name: String) { pipelineCreate(pipeline: {name: $name}) { id } }"
        pipelines = [self.value(VICTIM, add, name="PRIVATE")["id"] for _ in range(2)]
        batches = [
            self.value(VICTIM, "mutation($p: Int) { batchCreate(batch: {pipelineId: $p}) { id } }", p=pipeline)["id"]
            for pipeline in (*pipelines, None)
        ]
        jobs += [self.job(VICTIM, **secret, batchId=batch, status="planned") for batch in batches]
        jobs.append(self.job(VICTIM, **secret, pipelineId=pipelines[0], status="planned"))
        self.value(VICTIM, "mutation($id: Int!) { startPipeline(id: $id) { id } }", id=pipelines[1])
        self.value(VICTIM, 'mutation { jobHoldTypeCreate(jobHoldType: {type: "PRIVATE"}) { id } }')
        recurring = {"name": "PRIVATE", "cron": "0 3 * * *", "job": {"type": "PRIVATE", "input": "PRIVATE"}}
        add = "mutation($job: recurringJobInput!) { recurringJobCreate(recurringJob: $job) { id } }"
        self.value(VICTIM, add, job=recurring)
        told = '[{workerId: "PRIVATE", workerType: "PRIVATE", workerStatus: "AVAILABLE"}]'
        self.value(VICTIM, f"mutation {{ workerMonitoringUpdate(workers: {told}) {{ success }} }}")
        kinds = ("batch", "pipeline", "pipelineStep", "jobHoldType", "recurringJob", "workerMonitoring")
        found = {kind: [row["id"] for row in self.value(VICTIM, f"{{ {kind} {{ id }} }}")] for kind in kinds}
        assert all(found.values())
        return {"job": jobs, **found}

    def own(self, tenant: str) -> dict[str, int]:
        """Rows of the attacker's."""
        pipeline = self.value(tenant, 'mutation { pipelineCreate(pipeline: {name: "own"}) { id } }')["id"]
        batch = self.value(tenant, "mutation { batchCreate(batch: {}) { id } }")["id"]
        job = self.job(tenant, status="planned")
        step = {"pipelineId": pipeline, "batchId": batch, "index": 0}
        add = "mutation($step: pipelineStepInput!) { pipelineStepCreate(pipelineStep: $step) { id } }"
        free = self.value(tenant, "mutation { batchCreate(batch: {}) { id } }")["id"]
        return {
            "pipeline": pipeline,
            "batch": free,
            "job": job,
            "pipelineStep": self.value(tenant, add, step=step)["id"],
            "jobHoldType": self.value(tenant, 'mutation { jobHoldTypeCreate(jobHoldType: {type: "own"}) { id } }')[
                "id"
            ],
        }

    def release(self, tenant: str) -> None:
        """Takes away what an attack made of which there is one at most: holds of a type, recurring jobs of a name."""
        for row in self.value(tenant, '{ recurringJob(where: {name: ["own", "stolen"]}) { id } }'):
            self.value(tenant, "mutation($id: Int!) { recurringJobDelete(id: $id) { id } }", id=row["id"])
        for row in self.value(tenant, '{ jobHoldType(where: {type: ["own", "stolen"]}) { id } }'):
            self.value(tenant, "mutation($id: Int!) { jobHoldTypeDelete(id: $id) { id } }", id=row["id"])

    def answer(self, tenant: str, attack: operations.Attack, ids: dict[str, int]) -> str:
        """The response, in which no two rows can be told apart by their ids and times."""
        own = self.own(tenant) if "'own " in str(attack) else {}
        body = self.run(tenant, text_of("mutation", attack.field), **filled(attack.given, ids, own))
        if "HoldType" in attack.field or "recurring" in attack.field:
            self.release(tenant)
        return re.sub(r"\d+", "#", json.dumps(body))


def variants(attack, ids):
    """The ids to try: each row of every kind that the attack names."""
    kinds = foreign(attack.given)
    for place in range(max((len(ids[kind]) for kind in kinds), default=1)):
        yield {kind: rows[place % len(rows)] for kind, rows in ids.items()}


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_no_mutation_reaches_another_tenants_rows(storage, attacker):
    world = World(storage)
    ids = world.furnish()
    before = world.rows(VICTIM)
    nothing = dict.fromkeys(ids, MISSING)
    tried, leaks = 0, []
    for attack in operations.mutations():
        missing = world.answer(attacker, attack, nothing)
        for some in variants(attack, ids):
            tried += 1
            answer = world.answer(attacker, attack, some)
            if answer != missing or "PRIVATE" in answer:
                leaks.append(f"{attack} of {some}: {answer} is not {missing}")
        if (after := world.rows(VICTIM)) != before:
            leaks.append(f"{attack} changed the victim's rows")
            before = after
    assert leaks == []
    assert tried > 150


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_no_query_tells_of_another_tenants_rows(storage, attacker):
    """All answers are the same, byte for byte, with and without the other tenant's rows."""
    world = World(storage)
    own = world.own(attacker)
    kinds = ("job", "batch", "pipeline", "pipelineStep", "jobHoldType", "recurringJob", "workerMonitoring")
    ids = {kind: [1, 2] for kind in kinds}

    def ask(ids):
        return {
            f"{attack} {place}": TIME.sub(
                "T", json.dumps(world.run(attacker, text_of("query", attack.field), **filled(attack.given, some, own)))
            )
            for attack in operations.queries()
            for place, some in enumerate(variants(attack, ids))
        }

    # rows that are to be, as far as anybody knows them
    probe = {kind: [own.get(kind, 0) + place for place in (1, 2, 3)] for kind in ids}
    before = ask(probe)
    found = world.furnish()
    assert any(set(found[kind]) & set(probe[kind]) for kind in ids)
    after = ask(probe)
    assert {name: text for name, text in after.items() if text != before[name]} == {}
    assert len(before) > 60


def test_the_attacks_work_on_rows_of_ones_own():
    """What the other tests find refused is not refused to whom the rows belong, by any operation."""
    attacks = [attack for attack in operations.mutations() if foreign(attack.given)]
    worked = set()
    for attack in attacks:
        world = World(MemoryStorage())
        ids = world.furnish()
        missing = world.answer(VICTIM, attack, dict.fromkeys(ids, MISSING))
        if any(world.answer(VICTIM, attack, some) != missing for some in variants(attack, ids)):
            worked.add(attack.field)
    # whose only ids are in nested rows, which are taken and have no effect (section 3 of the jobs contract)
    assert worked | {"pipelineCreate"} == {attack.field for attack in attacks}


def test_every_attribute_that_names_a_row_is_tried():
    for kind in SCHEMA.type_map.values():
        for name in getattr(kind, "fields", {}):
            if name.endswith("Id") and kind.name.endswith("Input"):
                assert name in operations.POINTS_TO or name in ("jobUniqueId", "workerId"), f"{kind}.{name}"


@pytest.mark.parametrize("attacker", ["attacker"])
def test_a_tenant_holds_its_own_types_only(storage, attacker):
    world = World(storage)
    world.furnish()
    for type in ("all", "secret type"):
        world.value(attacker, "mutation($t: String!) { toggleHoldJobType(type: $t) { id } }", t=type)
    claim = 'mutation { acquireJob(typeList: ["secret type"]) { name } }'
    assert world.value(VICTIM, claim) == {"name": "PRIVATE"}
    assert world.value(attacker, claim) is None


def test_a_tenants_unique_ids_are_its_own(storage):
    world = World(storage)
    world.furnish()
    make = 'mutation { jobCreate(job: {type: "own", jobUniqueId: "secret key"}) { id name type } }'
    mine = world.value("attacker", make)
    assert (mine["type"], mine["name"]) == ("own", None)
    assert world.value("attacker", make) == mine
    assert world.value(VICTIM, make)["name"] == "PRIVATE"
