"""Content jobs: imports, exports, deletions, copies of what a content store holds (docs/content.md).

This module is light: what reads files or speaks to S3 is imported when it is needed.
"""

from gnj.content.application import Content
from gnj.content.files import FileSink, FileStore, Part, PartSink, Stored
from gnj.content.filters import Condition, EntryFilter
from gnj.content.model import Asset, Entry, Environment, Model, NewEntry, Page, Site, Snapshot
from gnj.content.references import mapped
from gnj.content.store import (
    Busy,
    CloneSite,
    ContentStore,
    CopyEnvironment,
    Delete,
    DeleteField,
    DropEnvironment,
    Holder,
    Operation,
    Reindex,
    Stale,
    Step,
    SyncEnvironment,
)
from gnj.queue.working import Line

__all__ = [
    "Asset",
    "Busy",
    "CloneSite",
    "Condition",
    "Content",
    "ContentStore",
    "CopyEnvironment",
    "Delete",
    "DeleteField",
    "DropEnvironment",
    "Entry",
    "EntryFilter",
    "Environment",
    "FileSink",
    "FileStore",
    "Holder",
    "Line",
    "Model",
    "NewEntry",
    "Operation",
    "Page",
    "Part",
    "PartSink",
    "Reindex",
    "Site",
    "Snapshot",
    "Stale",
    "Step",
    "Stored",
    "SyncEnvironment",
    "mapped",
]
