"""Two organisations with something of every kind, of which one attacks the other."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from gnj import GNJ
from gnj.content.model import Asset, NewEntry
from gnj.content.store import Holder
from gnj.queue.catalog import RECORDS
from gnj.queue.model_content import ContentType
from gnj.queue.storage import Select
from gnj.queue.working import ERROR, Line
from tests.content.face.attacks import MISSING, Attack, attacks, filled, text_of
from tests.content.fakes import FakeFiles, FakeStore

VICTIM, ATTACKER = "victim", "attacker"
THEIRS = {**MISSING, "entry": "no-such-entry"}


class World:
    """One application, in which everybody acts over HTTP with a key of his own."""

    def __init__(self, jobs: GNJ, client: Any, files: FakeFiles, put: Callable[..., str]) -> None:
        self.jobs, self.client, self.files, self.put = jobs, client, files, put
        self.store = jobs.content.store
        self._numbers = itertools.count()
        self.keys = {org: jobs.create_token(org, scopes=["admin"], tenant=org) for org in (VICTIM, ATTACKER)}

    def post(self, org: str, key: str, text: str, variables: Any) -> Any:
        return self.client.post(
            f"/v2/{org}/jobs/graphql",
            json={"query": text, "variables": variables},
            headers={"authorization": f"Bearer {self.keys[key]}"},
        )

    def run(self, org: str, text: str, /, **variables: Any) -> Any:
        response = self.post(org, org, text, variables)
        body = response.json()
        assert response.status_code == 200, (text, variables, body)
        for error in body.get("errors", ()):
            assert error["extensions"]["code"] != "INTERNAL_SERVER_ERROR", (text, variables, body)
        return body

    def furnish(self, org: str, word: str) -> dict[str, str]:
        """Something of every kind, each with a word in it; their ids."""
        entry = NewEntry(id=f"e-{word}", site_id=f"s-{word}", model_id=f"m-{word}", content={"t": word})
        main = self.put(org)
        alias = f"stage-{word.lower()}"
        stage = self.put(org, entry, environment=alias)
        self.put_asset(org, stage, word)
        self.files.put(org, f"uploads/{word}/f.jsonl", word.encode())
        queue = self.jobs.queue
        made = queue.create_content_job(
            org, name=word, type=ContentType.EXPORT_ENTRIES, params={}, by={"id": word, "name": word, "email": word}
        )
        task = queue.acquire(["gnj:content.process_entries"], worker_id="w", tenants=[org])
        assert task is not None
        queue.checkpoint(task, {"percent": 50}, [Line(ERROR, word)])
        sync = """mutation($base: String!, $target: String!) { syncEnvironmentJob(createJobInput: {
          jobName: "%s", baseEnvironmentId: $base, targetEnvironmentId: $target, cronExpression: "0 3 * * *"
        }) { recurringJob { id } } }"""
        recurring = self.run(org, sync % word, base=main, target=stage)["data"]["syncEnvironmentJob"]["recurringJob"]
        start = "mutation($id: String!) { runRecurringJob(createJobInput: {recurringJobId: $id}) { id } }"
        assert self.run(org, start, id=recurring["id"])["data"]
        upload = 'mutation { initFileUpload(initFileUploadInput: {name: "%s", size: 3}) { uploadId } }'
        begun = self.run(org, upload % word)["data"]["initFileUpload"]
        return {
            "job": str(made.id),
            "task": str(task.id),
            "recurring": recurring["id"],
            "environment": stage,
            "site": f"s-{word}",
            "model": f"m-{word}",
            "entry": f"e-{word}",
            "key": f"uploads/{word}/f.jsonl",
            "upload": begun["uploadId"],
            "alias": alias,
        }

    def put_asset(self, org: str, environment: str, word: str) -> None:
        holder = Holder(1, 1, 1)
        asset = Asset(
            id=f"a-{word}",
            site_id=f"s-{word}",
            path=f"{word}.png",
            name=f"{word}.png",
            size=1,
            media_type="image/png",
            sha256="0" * 64,
            key=f"assets/{word}",
            created_at=datetime(2024, 5, 14, tzinfo=UTC),
        )
        self.store.open(org, environment, holder)
        self.store.put_assets(org, environment, holder, [asset])
        self.store.publish(org, environment, holder)

    def rows(self, org: str) -> Any:
        """Everything that is kept of an organisation."""
        rows = {
            name: [row for row in self.jobs.storage.find(kind, Select(deleted=True)) if row.tenant == org]
            for name, kind in RECORDS.items()
        }
        content = self._in_memory(org) if isinstance(self.store, FakeStore) else self._stored(org)
        files = {key: data for key, data in self.files.files.items() if key[0] == org}
        parts = {key: deepcopy(data) for key, data in self.files.parts.items() if key[0] == org}
        return rows, content, files, parts

    def _in_memory(self, org: str) -> Any:
        rooms: Any = getattr(self.store, "rooms", {})
        return {id: deepcopy(room) for id, room in rooms.items() if room.tenant == org}

    def _stored(self, org: str) -> Any:
        storage: Any = self.jobs.storage
        tables = storage.tables.content
        with storage.begin(write=False) as rows:

            def found(table: Any, where: Any) -> list[Any]:
                columns = table.primary_key.columns or table.columns
                return [tuple(row) for row in rows.connection.execute(select(table).where(where).order_by(*columns))]

            own = found(tables.environment, tables.environment.c.tenant == org)
            ids = [row[0] for row in own]
            parts = {
                name: found(table, table.c.environment.in_(ids))
                for name in ("site_id", "site", "model", "entry", "asset", "url", "tag", "text", "pin")
                if (table := getattr(tables, name)) is not None
            }
        assert own
        assert parts["entry"]
        return own, parts

    def answer(self, attack: Attack, own: dict[str, str], theirs: dict[str, str]) -> str:
        """The response, in which no two things can be told apart by their ids and times."""
        fresh = {**own, "alias": f"new-{next(self._numbers)}"}
        given = filled(attack.given, fresh, theirs)
        text = json.dumps(self.run(ATTACKER, text_of(attack.root, attack.field), **given))
        for id in sorted((id for id in theirs.values() if not id.isdigit()), key=len, reverse=True):
            text = text.replace(id, "#")
        return re.sub(r"PT[0-9.HM]+S|[0-9a-f]{20,}|\d+(\.\d+)?", "#", text)

    def attacked(self) -> tuple[int, list[str]]:
        """How many attacks were tried, and what they brought."""
        theirs = self.furnish(VICTIM, "PRIVATE")
        before = self.rows(VICTIM)
        tried, leaks = 0, []
        for attack in attacks():
            tried += 1
            own = self.furnish(ATTACKER, f"own{tried}")
            missing = self.answer(attack, own, THEIRS)
            own = self.furnish(ATTACKER, f"own{tried}b") if attack.root == "Mutation" else own
            answer = self.answer(attack, own, theirs)
            if answer != missing or "PRIVATE" in answer:
                leaks.append(f"{attack}: {answer} is not {missing}")
            if (after := self.rows(VICTIM)) != before:
                leaks.append(f"{attack} changed what is the victim's")
                before = after
        return tried, leaks
