"""A host with models and Alembic migrations of its own, in the database that gnj is in."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url

import gnj

pytestmark = pytest.mark.unmigrated

ENV = """
from alembic import context
from sqlalchemy import create_engine
from gnj.storage.sql.autogenerate import leave_out_gnj
from models import Base

def include_object(object, name, type_, reflected, compare_to):
    return name != "scratch"

url = context.config.get_main_option("sqlalchemy.url").replace("%%", "%")
engine = create_engine(url)
with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_schemas={schemas},
        include_object={include},
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
MODELS = """
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase): ...

class Order(Base):
    __tablename__ = "{order}"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(String(50), index=True)
{more}
"""
MAKO = '''"""${message}"""
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

from alembic import op
import sqlalchemy as sa

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
'''


class Host:
    """A project with Alembic in a folder."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.url, self.monkeypatch = folder, url, monkeypatch
        (folder / "versions").mkdir()
        (folder / "script.py.mako").write_text(MAKO)
        self.config = Config()
        self.config.set_main_option("script_location", str(folder))
        self.config.set_main_option("path_separator", "os")
        self.config.set_main_option("sqlalchemy.url", url)
        self.write()

    def write(
        self, more: str = "", order: str = "orders", include: str = "leave_out_gnj()", schemas: bool = False
    ) -> None:
        (self.folder / "models.py").write_text(MODELS.format(more=more, order=order))
        (self.folder / "env.py").write_text(ENV.format(include=include, schemas=schemas))

    def revise(self, message: str) -> str:
        """The text of what autogenerate makes."""
        with self.monkeypatch.context() as patch:
            patch.syspath_prepend(str(self.folder))
            patch.delitem(__import__("sys").modules, "models", raising=False)
            script = command.revision(self.config, message, autogenerate=True)
            patch.delitem(__import__("sys").modules, "models", raising=False)
        return Path(script.path).read_text()  # type: ignore[union-attr]

    def upgrade(self, to: str = "head") -> None:
        with self.monkeypatch.context() as patch:
            patch.syspath_prepend(str(self.folder))
            command.upgrade(self.config, to)

    def downgrade(self, to: str) -> None:
        with self.monkeypatch.context() as patch:
            patch.syspath_prepend(str(self.folder))
            command.downgrade(self.config, to)

    def tables(self) -> set[str]:
        engine = create_engine(self.url)
        try:
            return set(inspect(engine).get_table_names())
        finally:
            engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/host.db"
    made = request.getfixturevalue(f"{request.param}_database")()
    driver = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}[request.param]
    return make_url(made).set(drivername=driver).render_as_string(hide_password=False)


@pytest.fixture
def host(tmp_path, url, monkeypatch):
    folder = tmp_path / "host"
    folder.mkdir()
    return Host(folder, url, monkeypatch)


def body(script):
    return script.partition("def upgrade")[2]


@pytest.mark.parametrize("url", ["sqlite", "postgresql", "mysql"], indirect=True)
def test_both_live_in_one_database(host):
    with gnj.GNJ(host.url) as jobs:
        jobs.migrate()
        first = host.revise("first")
        assert "create_table('orders'" in first
        assert "gnj_" not in first
        host.upgrade()
        assert "op." not in body(host.revise("nothing"))
        jobs.migrate()  # once more, beside the host's tables
        jobs.enqueue("mail")
        host.upgrade()
        assert {"orders", "gnj_job", "gnj_alembic_version", "alembic_version"} <= host.tables()
        host.downgrade("base")
        assert "orders" not in host.tables()
        assert jobs.count() == 1
        host.upgrade()
        assert jobs.count() == 1


def test_the_host_migrates_first(host):
    host.revise("first")
    host.upgrade()
    with gnj.GNJ(host.url) as jobs:
        jobs.migrate()
        host.write(more="    price: Mapped[int] = mapped_column(default=0)")
        second = host.revise("second")
        assert "add_column('orders'" in second
        assert "gnj_" not in second
        if not host.url.startswith("sqlite"):  # which adds no column that must not be null
            host.upgrade()
            jobs.enqueue("mail")
            host.downgrade("-1")
        assert jobs.count() == (0 if host.url.startswith("sqlite") else 1)


def test_what_happens_without_the_helper(host):
    with gnj.GNJ(host.url) as jobs:
        jobs.migrate()
        host.write(include="None")
        assert "drop_table('gnj_job')" in host.revise("first")


def test_tables_that_were_reflected_are_not_created(host):
    with gnj.GNJ(host.url) as jobs:
        more = f"from sqlalchemy import create_engine; e = create_engine({host.url!r}); Base.metadata.reflect(e); e.dispose()"
        jobs.migrate()
        host.write(more=more)
        first = host.revise("first")
    assert "create_table('orders'" in first
    assert "gnj_" not in first


def test_another_prefix_and_a_table_of_the_hosts_that_looks_alike(host):
    with gnj.GNJ(host.url, prefix="q_") as jobs:
        jobs.migrate()
        host.write(order="q_orders", include="leave_out_gnj(prefix='q_')")
        first = host.revise("first")
        assert "create_table('q_orders'" in first
        assert "drop_table('q_job')" not in first
        host.upgrade()
        assert "op." not in body(host.revise("nothing"))


def test_the_hosts_own_include_object_is_asked(host):
    engine = create_engine(host.url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE scratch (id int)"))
        connection.execute(text("CREATE TABLE old (id int)"))
    engine.dispose()
    with gnj.GNJ(host.url) as jobs:
        jobs.migrate()
        host.write(include="leave_out_gnj(include_object=include_object)")
        first = host.revise("first")
    assert "drop_table('old')" in first
    assert "scratch" not in first
    assert "gnj_" not in first


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("schema, prefix, order", [("jobs", "", "event"), ("public", "gnj_", "orders")])
def test_a_schema(host, schema, prefix, order):
    with gnj.GNJ(host.url, schema=schema, prefix=prefix) as jobs:
        jobs.migrate()
        # `event` is a table of gnj's, but in another schema
        host.write(order=order, schemas=True, include=f"leave_out_gnj(prefix={prefix!r}, schema={schema!r})")
        first = body(host.revise("first")).partition("def downgrade")[0]
        assert f"create_table('{order}'" in first
        assert "drop_" not in first
        host.upgrade()
        assert "op." not in body(host.revise("nothing"))
        jobs.enqueue("mail")
        host.downgrade("base")
        assert jobs.count() == 1
