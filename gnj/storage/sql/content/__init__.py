"""The content store in the database of the jobs: SQLite or PostgreSQL."""

from gnj.storage.sql.content.store import SqlContentStore

__all__ = ["SqlContentStore"]
