"""`S3Files` against a server that speaks S3's protocol, in this process: the contract, and what is S3's own."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import urllib.parse
import zipfile

import httpx
import pytest

from gnj import GNJ
from gnj.content import s3_files
from gnj.content.application import open_files
from gnj.content.files import AccessRefused
from gnj.content.s3_files import S3Files
from gnj.queue.errors import InvalidInput, NotFound, StorageUnavailable
from gnj.queue.model_content import ContentType, TaskType
from gnj.settings_content import ContentLimits
from tests.content.fakes import FakeStore
from tests.content.file_contract import FileStoreContract
from tests.content.tasks import application, make, work
from tests.content.transferring import Client, Transfers, pattern

pytest.importorskip("boto3", reason="capability: boto3 is not installed")
faults = pytest.importorskip("botocore.exceptions")
server = pytest.importorskip("moto.server", reason="capability: moto is not installed")
# moto and what it uses warn of themselves
pytestmark = pytest.mark.filterwarnings("default")
_NUMBERS = itertools.count(1)
SMALL = 300
"""Bytes of a part, where S3 itself wants 5 MiB: the server of the tests is told so as well."""


@pytest.fixture(scope="module")
def endpoint():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_PROFILE", raising=False)
        patch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
        patch.setattr(s3_files, "SMALLEST", 1)
        running = server.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        running.start()
        try:
            host, port = running.get_host_and_port()
            yield f"http://{host}:{port}"
        finally:
            running.stop()


@pytest.fixture(scope="module")
def shared(endpoint):
    files = S3Files("files", "some/where", endpoint=endpoint)
    files.client.create_bucket(Bucket="files")
    return files


@pytest.fixture
def files(shared):
    return shared


@pytest.fixture
def tenant():
    return f"acme-{next(_NUMBERS)}"


def left(files, tenant):
    """Uploads of a tenant that are neither completed nor given up."""
    digest = hashlib.sha256(tenant.encode()).hexdigest()[:32]
    found = files.client.list_multipart_uploads(Bucket="files").get("Uploads", [])
    return [each["Key"] for each in found if digest in each["Key"]]


def keys(files):
    return [each["Key"] for each in files.client.list_objects_v2(Bucket="files").get("Contents", [])]


class TestS3Files(FileStoreContract):
    PART = SMALL

    @pytest.fixture
    def files(self, shared):
        return shared

    @pytest.fixture
    def send(self, files):
        def send(tenant, key, backend, number, offset, data):
            urls = files.part_urls(tenant, key, backend, [len(data)] * number, 60)
            answer = httpx.put(urls[number - 1], content=data)
            assert answer.status_code == 200, answer.text
            return answer.headers["etag"]

        return send


def test_a_part_of_another_size_is_refused_when_the_upload_is_completed(files, tenant):
    backend = files.begin(tenant, "k", 2 * SMALL, SMALL)
    urls = files.part_urls(tenant, "k", backend, [SMALL, SMALL], 60)
    etags = [httpx.put(url, content=b"x" * (SMALL + 1)).headers["etag"] for url in urls]
    with pytest.raises(InvalidInput, match="part 1 must have 300 bytes, not 301"):
        files.complete(tenant, "k", backend, [SMALL, SMALL], etags)
    assert files.stat(tenant, "k") is None
    files.drop(tenant, "k", backend)
    assert left(files, tenant) == []


def test_the_size_of_a_part_is_signed_with_its_url(files, tenant):
    """S3 would take 5 GiB otherwise, and keep them until the upload is given up, for one that announced a byte."""
    backend = files.begin(tenant, "k", SMALL + 7, SMALL)
    urls = files.part_urls(tenant, "k", backend, [SMALL, 7], 60)
    queries = [urllib.parse.parse_qs(urllib.parse.urlsplit(url).query) for url in urls]
    assert [query["X-Amz-SignedHeaders"] for query in queries] == [["content-length;host"]] * 2
    files.drop(tenant, "k", backend)


def test_parts_that_s3_would_refuse(endpoint, monkeypatch):
    monkeypatch.setattr(s3_files, "SMALLEST", 1000)
    files = S3Files("files", endpoint=endpoint)
    with pytest.raises(InvalidInput, match=r"no parts of less than 1,000 bytes: content_limits.part is 999"):
        files.begin("t", "k", 1000, 999)
    backend = files.begin("t", "k", 999, 999)  # the only part is the last one
    files.drop("t", "k", backend)


def test_where_a_file_is_in_the_bucket(files, tenant):
    files.create("A/../B", "exports/ż.jsonl").finish()
    assert any(re.fullmatch("some/where/[0-9a-f]{32}/exports/ż.jsonl", key) for key in keys(files))
    files.remove("A/../B", "exports/ż.jsonl")
    for key in ("../x", "a/../../x", "a/./b", "/a", "a/", "a\nb", "ż" * 600):
        with pytest.raises(InvalidInput, match="the key of a file"):
            files.create(tenant, key)
        with pytest.raises(InvalidInput, match="the key of a file"):
            files.begin(tenant, key, 1, 1)


@pytest.mark.parametrize("size", [0, 99, 100, 101, 1_050])
def test_a_file_of_any_size_is_written_and_read_in_pieces(files, tenant, monkeypatch, size):
    monkeypatch.setattr(s3_files, "_CHUNK", 100)
    monkeypatch.setattr(s3_files, "_GROWING", 3)
    data = pattern(size)
    sink = files.create(tenant, "k")
    for at in range(0, size, 37):
        sink.write(data[at : at + 37])
    assert sink.finish() == files.stat(tenant, "k")
    assert left(files, tenant) == []
    with files.open(tenant, "k") as file:
        assert file.read() == data
        assert file.seek(0, 2) == size
        for at in (0, 50, 99, 250, 1_049, 2_000):
            file.seek(at)
            assert file.read(120) == data[at : at + 120]


def test_who_jumps_about_in_a_file_fetches_little_with_each_jump(files, tenant, monkeypatch):
    """As a zip can have it, whose 100,000 files lie here and there: each was a request for 8 MiB, 800 GB in all."""
    monkeypatch.setattr(s3_files, "_CHUNK", 8_000)
    monkeypatch.setattr(s3_files, "_LITTLE", 250)
    data = pattern(20_000)
    sink = files.create(tenant, "k")
    sink.write(data)
    sink.finish()
    fetched, real = [], files.client.get_object

    def get_object(**options):
        first, last = re.findall(r"[0-9]+", options["Range"])
        fetched.append(int(last) - int(first) + 1)
        return real(**options)

    monkeypatch.setattr(files.client, "get_object", get_object)
    with files.open(tenant, "k") as file:
        for _ in range(10):
            for at in (0, 19_000):
                file.seek(at)
                assert file.read(50) == data[at : at + 50]
    assert max(fetched[1:]) <= 250
    fetched.clear()
    with files.open(tenant, "k") as file:  # from its beginning to its end, with small gaps
        for at in range(0, 20_000, 1_000):
            file.seek(at)
            assert file.read(900) == data[at : at + 900]
    assert len(fetched) < 10


def test_an_aborted_file_leaves_no_parts(files, tenant, monkeypatch):
    monkeypatch.setattr(s3_files, "_CHUNK", 100)
    sink = files.create(tenant, "k")
    sink.write(b"x" * 250)
    assert len(left(files, tenant)) == 1
    sink.abort()
    sink.abort()
    assert left(files, tenant) == []
    assert files.stat(tenant, "k") is None


def test_a_file_that_is_replaced_while_it_is_read_fails(files, tenant, monkeypatch):
    monkeypatch.setattr(s3_files, "_CHUNK", 100)
    first, second = files.create(tenant, "k"), files.create(tenant, "k")
    first.write(b"a" * 250)
    first.finish()
    second.write(b"b" * 250)
    with files.open(tenant, "k") as file:
        assert file.read(10) == b"a" * 10
        second.finish()
        with pytest.raises(StorageUnavailable):
            file.read()
    with files.open(tenant, "k") as file:
        files.remove(tenant, "k")
        with pytest.raises(StorageUnavailable):
            file.read()


@pytest.mark.parametrize("code", ["403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_what_the_server_may_not_do_is_told_as_that(files, tenant, monkeypatch, code):
    def refused(**_options):
        raise faults.ClientError({"Error": {"Code": code, "Message": "secret"}}, "HeadObject")

    monkeypatch.setattr(files.client, "head_object", refused)
    with pytest.raises(AccessRefused, match=r"^The server may not read or write"):
        files.stat(tenant, "k")


def test_without_credentials_it_may_not_either(files, tenant, monkeypatch):
    def refused(**_options):
        raise faults.NoCredentialsError

    monkeypatch.setattr(files.client, "head_object", refused)
    with pytest.raises(AccessRefused):
        files.stat(tenant, "k")


def test_what_cannot_be_reached_is_told_without_names(endpoint):
    nowhere = S3Files("files", endpoint="http://127.0.0.1:1")
    with pytest.raises(StorageUnavailable, match=r"^the files cannot be reached$"):
        nowhere.stat("t", "k")


def test_a_bucket_that_is_not_there_is_told_from_one_that_does_not_answer(endpoint, shared, caplog):
    absent = S3Files("no-such-bucket", endpoint=endpoint)
    for use in (lambda: absent.begin("t", "k", 1, 1), absent.check):
        caplog.clear()
        with pytest.raises(AccessRefused) as error:
            use()
        assert "no-such-bucket" not in str(error.value)
        assert "there is no bucket no-such-bucket" in caplog.text
    shared.check()
    with pytest.raises(StorageUnavailable) as outage:
        S3Files("files", endpoint="http://127.0.0.1:1").check()
    assert not isinstance(outage.value, AccessRefused)


def test_without_credentials_nothing_is_sent(endpoint, monkeypatch, caplog):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(AccessRefused):
        S3Files("files", endpoint=endpoint).check()
    assert "the bucket files cannot be used: no credentials were found" in caplog.text


def test_a_file_that_is_not_there_is_told_with_its_bucket_in_the_log(files, tenant, caplog):
    with pytest.raises(NotFound, match=r"^there is no file 'k'$"):
        files.open(tenant, "k")
    assert f"there is no file 'k' of {tenant} in the bucket files" in caplog.text


def test_without_boto3_it_is_told_when_it_is_made(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InvalidInput, match=r"gnj\[s3\]"):
        open_files("s3://bucket/prefix")


def test_from_an_upload_to_a_download(endpoint, files):
    """As clients of the face see it: no byte goes through the application."""
    limits = ContentLimits(part=SMALL)
    where = {"files": "s3://files/pre/fix/", "files_endpoint": endpoint}
    with GNJ("memory:", content=FakeStore(), content_limits=limits, content_workers=0, **where) as jobs:
        me = Client(Transfers(jobs).face, "acme", "http://")
        data = pattern(2 * SMALL + 50)
        with httpx.Client() as client:
            begun = me.upload(client, data, "zażółć.json")
            assert begun.urls[0].url.startswith(f"{endpoint}/files/pre/fix/")
            answer = client.get(me.download_url(begun.key))
        assert answer.content == data
        name = urllib.parse.quote("zażółć.json")
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"
        again = me.init(SMALL + 1)
        with pytest.raises(InvalidInput, match="part 1 was not uploaded"):
            me.complete(again, [(1, "0" * 32), (2, "0" * 32)])
        with pytest.raises(NotFound):
            me.download_url(again.key)


def test_assets_of_a_zip_in_the_bucket_go_to_the_bucket(files):
    data = {f"s1/{n}.txt": pattern(n * 100, b"seed") for n in range(4)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zip:
        for name, each in data.items():
            zip.writestr(name, each)
    with application(files=files) as jobs:
        sink = files.create("acme", "uploads/1/a.zip")
        sink.write(stream.getvalue())
        sink.finish()
        make(jobs, ContentType.IMPORT_ASSETS, key="uploads/1/a.zip")
        (done,) = work(jobs, [TaskType.PROCESS_ASSETS.job_type])
        assert done.output == {"imported": 4, "refused": 0}
        store = jobs.content.store
        page = store.assets("acme", store.environment("acme", None).id, site_id="s1", offset=0, limit=10)
    for asset in page.items:
        with files.open("acme", asset.key) as file:
            assert file.read() == data[f"s1/{asset.path}"]
    assert page.total == 4
