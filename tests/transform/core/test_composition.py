"""Transformation jobs in an application: its settings, the parts it ships, its worker, and a real feed over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gnj import GNJ
from gnj.background_transform import TransformSweep, TransformWorker, WebhookWorker
from gnj.queue.errors import InvalidInput
from gnj.queue.model_content import TaskType
from gnj.queue.model_transform import RUN, RUN_OVER, WEBHOOK, RunStatus, TransformRecord, TransformRun
from gnj.settings import Settings
from gnj.settings_transform import SourceLimits, TransformLimits
from gnj.transform.errors import AddressRefused, BadFormat, BadSource, BadTransform, NoHandler
from gnj.transform.jobs import TransformJobs
from gnj.transform.requests import FormatInput, MappingInput, SourceInput, SourceRequest
from gnj.transform.sources import Secrets
from tests.fetch.conftest import Raw
from tests.transform.sites import answer, site

CSV = b"sku;title;price;key\n1;  Red shoe ;10.5;s3cret\n2;Hat;20;s3cret\n;No id;1;s3cret\n2;Blue hat;21;s3cret\n"
FORMAT = {
    "id": {"type": "string", "attributes": ["primary", "required"]},
    "title": {"type": "string"},
    "price": {"type": "number", "attributes": ["positiveNumber"]},
}
RULES = [
    {"sourceField": "sku", "targetField": "id"},
    {"sourceField": "title", "targetField": "title", "transform": "trim()"},
    {"sourceField": "price", "targetField": "price", "transform": "toNumber()"},
]
KEY = Secrets.new_key()


class Shop:
    """Serves a feed to who has the key; tells that it has not changed."""

    def __init__(self) -> None:
        shop = self
        self.answers: list[int] = []
        self.gone = False

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                known = self.headers.get("If-None-Match") == '"1"'
                allowed = self.headers.get("X-Key") == "s3cret" and not shop.gone
                status = 403 if not allowed else 304 if known else 200
                shop.answers.append(status)
                body = CSV if status == 200 else b""
                self.send_response(status)
                self.send_header("Content-Type", "text/csv")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"1"')
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_port}"
        self.request = SourceRequest(
            type="Feed",
            url=f"http://{self.place}/feed.csv",
            headers=["X-Key: ${KEY}"],
            credentials={"KEY": "s3cret"},
        )
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.close()


@pytest.fixture
def jobs(shop: Shop) -> Iterator[GNJ]:
    with GNJ("memory://", fetch_allow=[shop.place], secret_keys=[KEY]) as jobs:
        yield jobs


def ended(jobs: GNJ, run: TransformRun, seconds: float = 20) -> TransformRun:
    """The run, once it is over."""
    over = threading.Event()

    def look(changes: Any) -> None:
        if any(change.topic == "transform" for change in changes):
            over.set()

    with jobs.queue.feed.follow(look):
        while True:
            found = jobs.transform_jobs.run(run.tenant, run.id)
            assert found is not None
            if found.status in RUN_OVER:
                return found
            assert over.wait(seconds)
            over.clear()


def save(jobs: GNJ, shop: Shop) -> Any:
    return jobs.transform_jobs.save_job(
        "acme", SourceInput(request=shop.request), MappingInput(data=RULES), FormatInput(data=FORMAT)
    )


def test_a_feed_is_run_while_the_application_serves(jobs: GNJ, shop: Shop):
    jobs._has_transform = True
    jobs.start()
    job = save(jobs, shop)
    (run,) = jobs.transform_jobs.runs("acme", job.id)
    run = ended(jobs, run)
    assert (run.status, run.error, run.read, run.written, run.rejected) == (RunStatus.SUCCESSFUL, None, 4, 2, 1)
    page = jobs.transform_jobs.job_records("acme", job.id)
    assert page.records == [
        {"id": "1", "title": "Red shoe", "price": 10.5},
        {"id": "2", "title": "Blue hat", "price": 21},
    ]
    (rejected,) = page.rejected
    assert rejected.reasons == ["id is required"] or "id" in rejected.reasons[0]
    again = ended(jobs, jobs.transform_jobs.run_job("acme", job.id))
    assert (again.status, again.read, shop.answers) == (RunStatus.SUCCESSFUL, 0, [200, 304])
    shop.gone = True
    failed = ended(jobs, jobs.transform_jobs.run_job("acme", job.id))
    assert failed.status is RunStatus.FAILED
    assert failed.error is not None
    assert "403" in failed.error
    assert jobs.transform_jobs.job_records("acme", job.id).total == 2


def test_what_the_host_configures_makes_another_version():
    def versions(**settings: Any) -> Iterator[str]:
        for _ in range(2):
            with GNJ("memory://", **settings) as jobs:
                yield jobs.transform.parts.version

    first, again = versions()
    assert first == again
    assert first not in versions(phone_region="DE")
    with GNJ("memory://") as jobs:
        jobs.transform.attribute("embedText")(str)
        other = jobs.transform.parts.version
        jobs.transform.attribute("embedText")(repr)
        assert len({first, other, jobs.transform.parts.version}) == 3


def test_a_fresh_database_file_is_made_when_jobs_are_saved(shop: Shop, tmp_path):
    with GNJ(f"sqlite:///{tmp_path}/new.db", fetch_allow=[shop.place], secret_keys=[KEY]) as jobs:
        save(jobs, shop)
    with GNJ(f"sqlite:///{tmp_path}/other.db") as jobs:
        assert jobs.transform_jobs.jobs("acme") == []


def test_a_worker_of_the_hosts_does_runs_as_well(jobs: GNJ, shop: Shop):
    job = save(jobs, shop)
    (run,) = jobs.transform_jobs.runs("acme", job.id)
    worker = jobs.worker(transform=True)
    worker.start()
    try:
        assert ended(jobs, run).status is RunStatus.SUCCESSFUL
    finally:
        worker.stop(1)


def test_a_worker_of_the_hosts_does_runs_and_content_jobs(shop: Shop, tmp_path):
    with GNJ(f"sqlite:///{tmp_path}/jobs.db", fetch_allow=[shop.place], secret_keys=[KEY]) as jobs:
        jobs.migrate()

        @jobs.handler("mail")
        def mail(_job: Any) -> str:
            return "sent"

        run = jobs.transform_jobs.runs("acme", save(jobs, shop).id)[0]
        both: Any = {"transform": True, "content": True}
        worker = jobs.worker(**both)
        task = next(iter(TaskType)).job_type
        assert {"mail", RUN, WEBHOOK, task} <= set(worker.handlers.types)
        assert all(worker.handlers.get(type) is not None for type in worker.handlers.types)
        assert "mail" not in (jobs.worker([], **both).types or ())
        letter = jobs.enqueue("mail")
        worker.start()
        try:
            assert ended(jobs, run).status is RunStatus.SUCCESSFUL
        finally:
            worker.stop(5)
        found = jobs.get(letter.id)
        assert found is not None
        assert found.output == "sent"


def test_webhooks_are_called_while_the_application_serves(shop: Shop):
    told = threading.Event()

    def receive(_asked: Any) -> bytes:
        told.set()
        return answer(b"")

    with site(hook=receive) as place, GNJ("memory://", fetch_allow=["127.0.0.1"], secret_keys=[KEY]) as jobs:
        job = save(jobs, shop)
        jobs.transform_jobs.set_webhook("acme", job.id, place.url("/hook"), "s" * 16)
        jobs._has_transform = True
        jobs.start()
        assert told.wait(20)


def test_a_value_of_ten_megabytes_is_a_rejected_record_of_a_good_run():
    large = b"sku;title;price\n1;a;1\n2;" + b"y" * 10_000_000 + b";2\n3;" + b"x" * 1_000_000 + b";3\n"
    with site(feed=answer(large, "text/csv")) as place, GNJ("memory://", fetch_allow=["127.0.0.1"]) as jobs:
        source = SourceInput(request=SourceRequest(type="Feed", url=place.url("/feed")))
        job = jobs.transform_jobs.save_job("acme", source, MappingInput(data=RULES), FormatInput(data=FORMAT))
        (run,) = jobs.transform_jobs.runs("acme", job.id)
        worker = jobs.worker([], transform=True)
        worker.start()
        try:
            run = ended(jobs, run)
        finally:
            worker.stop(1)
        page = jobs.transform_jobs.job_records("acme", job.id)
    assert (run.status, run.read, run.written, run.rejected) == (RunStatus.SUCCESSFUL, 3, 2, 1)
    assert [len(record["title"]) for record in page.records] == [1, 1_000_000]
    (rejected,) = page.rejected
    assert rejected.reasons == ["it cannot be read, at position 1 (from 0): the row has more than 4,194,304 characters"]
    assert rejected.source == "2;" + "y" * 998


@pytest.mark.parametrize("silent", [True, False])
def test_a_deleted_job_gives_its_worker_back_though_its_source_gives_no_records(silent: bool):
    begun, over = threading.Event(), threading.Event()

    def quiet(talk: Any) -> None:
        talk.request()
        talk.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n\r\na,b\n")
        begun.set()
        while silent and not over.wait(20):
            pass
        while not over.is_set():
            talk.answer(b"\n" * 10_000)

    feed = Raw(quiet)
    with (
        site(feed=answer(b"sku\n1\n", "text/csv")) as place,
        GNJ("memory://", fetch_allow=["127.0.0.1"], transform_workers=1) as jobs,
    ):
        sources = [SourceInput(request=SourceRequest(type="Feed", url=url)) for url in (feed.url(), place.url("/feed"))]
        parts = MappingInput(data=RULES), FormatInput(data={"id": {"type": "string"}})
        worker = jobs.worker([], transform=True, concurrency=1)
        worker.start()
        try:
            first = jobs.transform_jobs.save_job("acme", sources[0], *parts)
            assert begun.wait(20)
            second = jobs.transform_jobs.save_job("acme", sources[1], *parts)
            (run,) = jobs.transform_jobs.runs("acme", second.id)
            assert run.status is RunStatus.PENDING
            assert jobs.transform_jobs.delete_job("acme", first.id)
            assert ended(jobs, run).status is RunStatus.SUCCESSFUL
        finally:
            over.set()
            feed.close()
            worker.stop(1)


def test_what_the_parts_refuse(jobs: GNJ, shop: Shop):
    commands = jobs.transform_jobs
    for request, error in (
        (SourceRequest(type="Feed"), BadSource),
        (SourceRequest(type="Awin"), NoHandler),
        (SourceRequest(type="Feed", url="http://10.0.0.1/"), AddressRefused),
        (SourceRequest(type="Feed", url="http://x.example/${NO}"), BadSource),
        (SourceRequest(type="Feed", url="http://x.example/", credentials=["x"]), BadSource),
        (SourceRequest(type="Feed", url="http://x.example/", headers=[3]), BadSource),  # type: ignore[list-item]
    ):
        with pytest.raises(error):
            commands.save_source("acme", request)
    with pytest.raises(BadTransform) as caught:
        commands.save_mapping("acme", "m", [{"sourceField": "a", "targetField": "b", "transform": "nothing()"}])
    assert caught.value.extensions == {"rule": 0, "position": 0}
    with pytest.raises(BadFormat):
        commands.save_format("acme", None, {"a": {"type": "no type"}})
    assert not commands.sources("acme")


def test_credentials_are_stored_encrypted(jobs: GNJ, shop: Shop):
    source = jobs.transform_jobs.save_source("acme", shop.request)
    assert source.credentials is not None
    assert "s3cret" not in source.credentials
    assert Secrets([KEY]).decrypt(source.credentials) == {"KEY": "s3cret"}


def test_what_no_host_carries_out_is_refused_where_it_is_registered(jobs: GNJ):
    for name in ("embedTxt", "required", "", 7):
        with pytest.raises(InvalidInput, match="is one of indexProductID, embedText, embedImage, not "):
            jobs.transform.attribute(name)  # type: ignore[arg-type]
    assert jobs.transform.hosts.attributes == {}


def test_a_country_without_phone_numbers_is_refused_before_anything_is_saved():
    with GNJ("memory://", phone_region="XX") as jobs:
        told = "^phone_region must be the two letters of a country, such as 'US', not 'XX'$"
        for _ in range(2):
            with pytest.raises(InvalidInput, match=told):
                _ = jobs.transform_jobs
        assert jobs.enqueue("mail").id == 1  # what asks for no phone numbers goes on


def test_a_host_registers_sources_attributes_and_a_generator(jobs: GNJ):
    @jobs.transform.source("Awin")
    def awin(fetch: Any) -> Any:
        yield {"sku": fetch.credentials["ID"]}
        yield {"sku": None}

    @jobs.transform.attribute("embedText")
    def embed(value: Any) -> Any:
        return f"embedded {value}"

    definition = {"id": {"type": "string", "attributes": ["required", "embedText"]}}
    source = SourceInput(request=SourceRequest(type="Awin", credentials={"ID": "7"}))
    rules = MappingInput(data=[{"sourceField": "sku", "targetField": "id"}])
    commands = jobs.transform_jobs
    assert commands.apply_mapping("acme", source, rules, FormatInput(data=definition)) == [{"id": "embedded 7"}]
    assert (
        commands.generate_mapping("acme", source, FormatInput(data={"sku": {"type": "string"}}))[0]["targetField"]
        == "sku"
    )

    @jobs.transform.generator
    def mine(samples: Any, definition: Any) -> Any:
        return [{"sourceField": min(samples[0]), "targetField": min(definition), "confidence": 1.0}]

    assert commands.generate_mapping("acme", source, FormatInput(data=definition)) == [
        {"sourceField": "sku", "targetField": "id", "confidence": 1.0}
    ]


def test_settings():
    environment = {
        "GNJ_SECRET_KEYS": f"{KEY}, {KEY}",
        "GNJ_TRANSFORM_BATCH": "7",
        "GNJ_TRANSFORM_WAIT_SECONDS": "1.5",
        "GNJ_TRANSFORM_WORKERS": "0",
        "GNJ_SOURCE_IDLE": "3",
        "GNJ_PHONE_REGION": "DE",
    }
    settings = Settings.of({}, environment)
    assert settings.secret_keys == (KEY, KEY)
    assert KEY not in repr(settings)
    assert (settings.transform_limits, settings.transform_workers) == (TransformLimits(batch=7, wait_seconds=1.5), 0)
    assert (settings.source_limits, settings.phone_region) == (SourceLimits(idle=3.0), "DE")
    wrong: dict[str, Any]
    for wrong in (
        {"secret_keys": ["short"]},
        {"secret_keys": KEY},
        {"secret_keys": [3]},
        {"transform_workers": 65},
        {"transform_limits": SourceLimits()},
        {"source_limits": 3},
    ):
        with pytest.raises(InvalidInput, match=next(iter(wrong))) as caught:
            Settings.of(wrong, {})
        assert "short" not in str(caught.value)
    with pytest.raises(InvalidInput, match="transform_limits: batch"):
        Settings.of({}, {"GNJ_TRANSFORM_BATCH": "0"})


def test_what_runs_beside_and_what_is_made_only_when_needed():
    jobs = GNJ("memory://", transform_workers=1)
    assert [type(each) for each in jobs._transform_tickers()] == [TransformSweep, TransformWorker, WebhookWorker]
    assert isinstance(jobs.transform_jobs, TransformJobs)
    assert [type(each) for each in GNJ("memory://", transform_workers=0)._transform_tickers()] == [TransformSweep]
    with pytest.raises(InvalidInput, match="fetch_allow"):
        _ = GNJ("memory://", fetch_allow=["http://x"]).transform
    jobs.close()


def test_the_sweep_removes_what_a_failed_run_has_left(jobs: GNJ, shop: Shop):
    job = save(jobs, shop)
    (run,) = jobs.transform_jobs.runs("acme", job.id)
    jobs.queue.storage.insert(
        TransformRecord, [{"tenant": "acme", "transform_job_id": job.id, "born": run.id, "value": {}} for _ in range(5)]
    )
    failed = {"status": RunStatus.FAILED, "unclean_at": run.created_at, "finished_at": run.created_at}
    jobs.queue.storage.move(TransformRun, [run.id], {RunStatus.PENDING}, failed)
    sweep = TransformSweep(jobs.queue)
    sweep.tick()
    assert jobs.queue.storage.count(TransformRecord) == 0
    sweep.tick()  # not again at once
    sweep.close()
