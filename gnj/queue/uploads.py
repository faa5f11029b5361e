"""Uploads: which files are being uploaded in parts, for whom, and until when. The bytes are not here."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from gnj.queue.clock import NOW, After
from gnj.queue.errors import InvalidInput, NotFound
from gnj.queue.model import attributes
from gnj.queue.model_content import CONTENT_UNFINISHED, ContentJob, ContentType, Upload
from gnj.queue.runner import Runner
from gnj.queue.storage import Rows, Select
from gnj.queue.unit import Unit
from gnj.queue.values import Json
from gnj.queue.where import And, Compare, Condition, Not, Or, equal

MOST: Final = 1_000
"""Uploads of a tenant that may be open at once."""


class Uploading(Runner):
    """The rows of uploads."""

    def create_upload(
        self,
        tenant: str,
        *,
        upload_id: str,
        key: str,
        name: str,
        size: int,
        parts: int,
        backend: str,
        seconds: float,
        by: Json,
        most: int | None = None,
    ) -> Upload:
        """An open upload.

        Args:
            tenant: Whose it is.
            upload_id: What clients call it; nobody can guess it.
            key: What the file is called once it is complete.
            name: What its owner calls the file.
            size: Bytes of the file.
            parts: How many parts it comes in.
            backend: What the file store calls the upload.
            seconds: For how long it may stay open.
            by: Who makes it: `{"id", "name", "email"}`.
            most: Bytes that all uploads of the tenant may have, this one included; None: any number.

        Raises `InvalidInput` where the tenant has `MOST` open ones already, or too many bytes.
        """
        row = {
            "tenant": tenant,
            "upload_id": upload_id,
            "key": key,
            "name": name,
            "size": size,
            "parts": parts,
            "backend": backend,
            "expires_at": After(seconds),
            "created_by": by,
        }

        def command(unit: Unit) -> tuple[Upload, bool]:
            waited = _wait(unit.tx, tenant)
            if problem := _problem(unit.tx, tenant, size, most):
                raise InvalidInput(problem)
            return unit.tx.insert(Upload, [row])[0], waited

        made, waited = self.run(command)

        def look_again(unit: Unit) -> str | None:
            _wait(unit.tx, tenant)
            problem = _problem(unit.tx, tenant, size, most, there=True)
            if problem:
                unit.tx.trim(Upload, equal(Upload, id=made.id), 1)
            return problem

        # of the first ones of a tenant that are made at once, none was there that the others could have waited by
        if not waited and (problem := self.run(look_again)):
            raise InvalidInput(problem)
        return made

    def upload(self, tenant: str, upload_id: str) -> Upload | None:
        """The upload of the tenant of that id, open or complete; None: there is none, or not any more."""
        found = self.storage.find(Upload, Select(equal(Upload, upload_id=upload_id), limit=1), tenant=tenant)
        return found[0] if found else None

    def is_upload_open(self, tenant: str, key: str) -> bool:
        """Whether the file of that key is still being uploaded."""
        return self.storage.exists(Upload, equal(Upload, tenant=tenant, key=key, state="open"))

    def complete_upload(self, tenant: str, upload_id: str) -> Upload:
        """Notes that the file is complete; nothing for one that is already, or was. Raises `NotFound`."""

        def command(unit: Unit) -> Upload:
            found = _locked(unit.tx, tenant, upload_id)
            return unit.tx.edit(Upload, [found.id], {"state": "complete"})[0] if found.state == "open" else found

        return self.run(command)

    def expired_uploads(self, limit: int, *, grace: float = 0.0, after: Upload | None = None) -> Sequence[Upload]:
        """Open uploads of all tenants that expired more than `grace` seconds ago, at most `limit`, the oldest first; those that come
        after `after`, unless that is None.
        """
        known = attributes(Upload)
        before = self.storage.now() - timedelta(seconds=grace)
        parts: list[Condition] = [equal(Upload, state="open"), Compare(known["expires_at"], (), "lt", before)]
        if after is not None:
            same = (equal(Upload, expires_at=after.expires_at), Compare(known["id"], (), "gt", after.id))
            parts.append(Or((Compare(known["expires_at"], (), "gt", after.expires_at), And(same))))
        order = (("expires_at", False), ("id", False))
        return self.storage.find(Upload, Select(And(tuple(parts)), order, limit=limit))

    def unwanted_files(self, limit: int, *, after: int = 0) -> Sequence[Upload]:
        """At most `limit` files of all tenants that are to be removed, by id, beyond that of `after`: completed uploads and exports
        that are older than the retention (`prune`). A content job may be going to read one all the same: see `is_file_read`.
        """
        beyond = Compare(attributes(Upload)["id"], (), "gt", after)
        select = Select(And((equal(Upload, state="unwanted"), beyond)), (("id", False),), limit=limit)
        return self.storage.find(Upload, select)

    def is_file_read(self, tenant: str, key: str) -> bool:
        """Whether a content job that is not over reads the file of that key, or is going to."""
        return self.storage.exists(
            ContentJob, equal(ContentJob, tenant=tenant, file_key=key, status=tuple(CONTENT_UNFINISHED))
        )

    def drop_upload(self, id: int) -> bool:
        """Removes the row of an upload that is open, or of an unwanted file, for good, by the row's id, after the file store let go of
        its parts, or of the file.

        Whether it was there: a completed upload that is wanted stays.
        """
        return self.run(lambda unit: unit.tx.trim(Upload, equal(Upload, id=id, state=("open", "unwanted")), 1)) == 1


def retire(tx: Rows, age: float, limit: int) -> int:
    """Has at most `limit` uploads that were completed more than `age` seconds ago be unwanted; how many."""
    old = Compare(attributes(Upload)["updated_at"], (), "lte", tx.now() - timedelta(seconds=age))
    found = tx.columns(Upload, ("id",), Select(And((equal(Upload, state="complete"), old)), limit=limit))
    return len(tx.edit(Upload, [id for (id,) in found], {"state": "unwanted"})) if found else 0


def retire_exports(tx: Rows, content_jobs: Sequence[int]) -> None:
    """Has what these content jobs have exported be unwanted: with them, nobody knows of it any more."""
    exports = equal(ContentJob, id=tuple(content_jobs), type=ContentType.EXPORT_ENTRIES)
    written = And((exports, Not(Compare(attributes(ContentJob)["file_key"], (), "null", None))))
    for tenant, key in tx.columns(ContentJob, ("tenant", "file_key"), Select(written, deleted=True)):
        unwant(tx, tenant, [key])


def unwant(tx: Rows, tenant: str, keys: Sequence[str]) -> None:
    """Has files of the tenant that were not uploaded be unwanted."""
    told = {"tenant": tenant, "size": 0, "parts": 0, "state": "unwanted", "expires_at": NOW}
    rows = [{"upload_id": secrets.token_hex(16), "key": key, "name": key.rpartition("/")[2], **told} for key in keys]
    if rows:
        tx.insert(Upload, rows)


def _wait(tx: Rows, tenant: str) -> bool:
    """Waits until no other transaction counts uploads of the tenant, so that of two at once the second counts the first; False: there
    is no upload to wait by.
    """
    first = tx.columns(Upload, ("id",), Select(limit=1), tenant=tenant)
    return bool(first) and tx.get(Upload, first[0][0], tenant=tenant, lock=True) is not None


def _problem(tx: Rows, tenant: str, size: int, most: int | None, *, there: bool = False) -> str | None:
    """Why there may be no upload of `size` bytes more, or, if it is `there`, not as many as there are; None: there may."""
    if tx.count(Upload, equal(Upload, state="open"), tenant=tenant) - there >= MOST:
        return f"{MOST:,} uploads are open already: complete some of them, or wait until they expire"
    if most is not None:
        kept = sum(bytes * number for (bytes,), number in tx.tally(Upload, ("size",), tenant=tenant).items())
        kept -= size if there else 0
        if kept + size > most:
            return (
                f"the uploads of an organisation are limited to {most:,} bytes, and {kept:,} are there: files go some time after "
                "they were completed (the retention of the server)"
            )
    return None


def _locked(tx: Rows, tenant: str, upload_id: str) -> Upload:
    ids = tx.columns(Upload, ("id",), Select(equal(Upload, upload_id=upload_id), limit=1), tenant=tenant)
    found = tx.get(Upload, ids[0][0], tenant=tenant, lock=True) if ids else None
    if found is None:
        raise NotFound(f"there is no upload {upload_id[:100]!r}")
    return found
