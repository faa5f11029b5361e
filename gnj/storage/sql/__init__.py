"""The storage in SQLite and PostgreSQL, through SQLAlchemy."""

from gnj.storage.sql.storage import SqlStorage

__all__ = ["SqlStorage"]
