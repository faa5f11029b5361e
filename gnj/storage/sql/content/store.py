"""`SqlContentStore`: the `ContentStore` of gnj's own, put together of its parts."""

from __future__ import annotations

from gnj.content.store import (
    CloneSite,
    CopyEnvironment,
    Delete,
    DeleteField,
    DropEnvironment,
    Holder,
    Operation,
    Reindex,
    Step,
    SyncEnvironment,
)
from gnj.queue.values import Json
from gnj.storage.sql.content.cloning import Cloning
from gnj.storage.sql.content.copying import Copying
from gnj.storage.sql.content.deleting import Deleting
from gnj.storage.sql.content.derived import Derived
from gnj.storage.sql.content.purging import Purging
from gnj.storage.sql.content.reading import Reading
from gnj.storage.sql.content.syncing import Syncing
from gnj.storage.sql.content.writing import Writing


class SqlContentStore(Writing, Derived, Deleting, Syncing, Cloning, Copying, Purging, Reading):
    """Keeps content in the tables of a storage. Threads may share it. See `ContentStore`.

    Args:
        storage: Where the tables are. Raises `InvalidInput` for a database that has none for content.
    """

    def step(self, tenant: str, holder: Holder, operation: Operation, cursor: Json) -> Step:
        """See `ContentStore.step`."""
        match operation:
            case Delete():
                return self.delete(tenant, holder, operation, cursor)
            case DeleteField():
                return self.delete_field(tenant, holder, operation, cursor)
            case CopyEnvironment():
                return self.copy(tenant, holder, operation, cursor)
            case DropEnvironment():
                return self.drop(tenant, operation, cursor)
            case SyncEnvironment():
                return self.sync(tenant, holder, operation, cursor)
            case CloneSite():
                return self.clone(tenant, holder, operation, cursor)
            case Reindex():
                return self.reindex(tenant, operation, cursor)
