"""From a file on a client's disk to assets and entries and back, through GraphQL and signed URLs, on each database."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from gnj.queue.model_content import ContentStatus
from tests.content.transferring import pattern

INIT = """mutation ($name: String!, $size: Long!) {
  initFileUpload(initFileUploadInput: {name: $name, size: $size}) {
    preSignedUrls { partNumber url } uploadId key
  }
}"""
COMPLETE = """mutation ($given: CompleteMultipartUploadInput!) {
  completeMultiPartUpload(completeMultipartUploadInput: $given) { success }
}"""
IMPORT = """mutation ($key: String, $type: JobType!) {
  createImportJob(createJobInput: {jobName: "An import", fileKey: $key, jobType: $type}) { id }
}"""
ASSETS = '{ sites { id } assets(siteId: "s1") { total items { path size } } }'
EXPORT = """mutation {
  createExportJob(createJobInput: {jobName: "An export", jobType: EXPORT_ENTRIES}) { id }
}"""


def upload(ask, client, data, name):
    begun = ask(INIT, {"name": name, "size": len(data)}).data["initFileUpload"]
    sent = []
    size = 8 * 1024 * 1024
    for part in begun["preSignedUrls"]:
        at = (part["partNumber"] - 1) * size
        answer = client.put(part["url"], content=data[at : at + size])
        assert answer.status_code == 200
        sent.append({"partNumber": part["partNumber"], "eTag": answer.headers["etag"]})
    given = {"uploadId": begun["uploadId"], "key": begun["key"], "multiPartUploads": sent}
    assert ask(COMPLETE, {"given": given}).data == {"completeMultiPartUpload": {"success": True}}
    return begun["key"]


def test_assets_of_a_zip_of_two_parts(ask, client, work, jobs, org):
    files = {"s1/large.bin": pattern(9 * 1024 * 1024), "s1/a.txt": b"a", "s2/b.txt": b"b"}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zip:
        for name, data in files.items():
            zip.writestr(name, data)
    key = upload(ask, client, stream.getvalue(), "assets.zip")
    ask(IMPORT, {"key": key, "type": "IMPORT_ASSETS"}).data["createImportJob"]
    work()
    rows, _ = jobs.queue.content_jobs(org, offset=0, limit=10)
    logs, _ = jobs.queue.content_logs(org, rows[0].id, offset=0, limit=10)
    assert ("INFORMATION", "3 assets were imported, 0 refused") in [(line.level, line.message) for line in logs]
    page = ask(ASSETS).data
    assert {site["id"] for site in page["sites"]} == {"s1", "s2"}
    assert page["assets"]["total"] == 2
    assert {each["path"]: each["size"] for each in page["assets"]["items"]} == {
        "large.bin": 9 * 1024 * 1024,
        "a.txt": 1,
    }
    stored = jobs.content.files
    key = jobs.content.store.asset_file(org, f"assets/{hashlib.sha256(files['s1/large.bin']).hexdigest()}-")
    with stored.open(org, key) as file:
        assert file.read() == files["s1/large.bin"]


def test_entries_there_and_back(ask, client, work, jobs, org):
    entries = [
        {"id": f"e{n}", "system": {"siteId": "s1", "modelId": "m"}, "content": {"title": f"No. {n}"}} for n in range(50)
    ]
    key = upload(ask, client, json.dumps(entries).encode(), "entries.json")
    ask(IMPORT, {"key": key, "type": "IMPORT_ENTRIES"}).data["createImportJob"]
    work()
    ask(EXPORT).data["createExportJob"]
    work()
    rows, _ = jobs.queue.content_jobs(org, offset=0, limit=10)
    assert [row.status for row in rows] == [ContentStatus.COMPLETED] * 2
    url = ask("query ($key: String!) { fileDownloadUrl(key: $key) }", {"key": rows[0].file_key}).data["fileDownloadUrl"]
    lines = client.get(url).content.decode().splitlines()
    assert {json.loads(line)["id"]: json.loads(line)["content"] for line in lines} == {
        each["id"]: each["content"] for each in entries
    }
    assert ask('{ fileDownloadUrl(key: "uploads/nothing") }').codes == ["NOT_FOUND"]
    assert ask(INIT, {"name": "a/b", "size": 1}).codes == ["INVALID_INPUT"]


@pytest.mark.parametrize("client", ["asgi"], indirect=True)
def test_an_upload_of_another_organisation(ask, client, org):
    begun = ask(INIT, {"name": "a.json", "size": 1}).data["initFileUpload"]
    given = {"uploadId": begun["uploadId"], "key": begun["key"], "multiPartUploads": []}
    assert ask(COMPLETE, {"given": given}, org=f"{org}-other").codes == ["NOT_FOUND"]
    url = httpx.URL(begun["preSignedUrls"][0]["url"])
    other = url.copy_with(path=url.path.replace(org, f"{org}-other"))
    assert client.put(str(other), content=b"x").status_code == 403
    assert client.put(str(url), content=b"x").status_code == 200


MEMORY = """
import hashlib, http.client, resource, sys, tempfile, time, urllib.parse
from pathlib import Path

import gnj_starlette
from gnj import GNJ
from tests.content.transferring import Client, Transfers
from tests.serving import served

SIZE = 1024**3
chunk = hashlib.sha256(b"x").digest() * 2048
with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
    with GNJ(f"sqlite:///{folder}/gnj.db", files=f"{folder}/files", content_workers=0) as jobs:
        jobs.migrate()
        transfers = Transfers(jobs)
        with served(gnj_starlette.asgi_app(transfers), ws="none") as url:
            me = Client(transfers.face, "acme", url)

            def send(part):
                there = urllib.parse.urlsplit(part.url)
                connection = http.client.HTTPConnection(there.hostname, there.port, timeout=60)
                pieces = (chunk for _ in range(part.size // len(chunk)))
                length = {"content-length": str(part.size)}
                connection.request("PUT", f"{there.path}?{there.query}", pieces, length)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
                connection.close()
                return part.number, answer.headers["etag"]

            small = me.init(8 * 1024**2)
            me.complete(small, [send(part) for part in small.urls])
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            begun, began = me.init(SIZE), time.monotonic()
            me.complete(begun, [send(part) for part in begun.urls])
            sent = time.monotonic() - began
            there = urllib.parse.urlsplit(me.download_url(begun.key))
            connection = http.client.HTTPConnection(there.hostname, there.port, timeout=60)
            connection.request("GET", f"{there.path}?{there.query}")
            answer, came = connection.getresponse(), 0
            while piece := answer.read(len(chunk)):
                came += len(piece)
            assert came == SIZE, came
            connection.close()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            print(f"{grown // 1024} MiB more, sent in {sent:.1f} s, fetched in {time.monotonic() - began - sent:.1f} s")
            sys.exit(grown > 60 * 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_large_file_needs_no_memory(tmp_path):
    """1 GiB there and back, with server and client in one process: less than 60 MiB more than for 8 MiB."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=500, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
