"""From a file of entries to a file of entries: uploaded in parts, imported, read, exported, and downloaded.

    gnj serve
    python content_tour.py http://127.0.0.1:8080 acme articles.jsonl

`acme` is the organisation; a server that asks for a token finds it in GNJ_TOKEN. Without a file, three entries of its own are
imported. What was exported is written to `export.jsonl`.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx

ENTRIES = [
    {
        "id": f"article-{number}",
        "system": {"siteId": "blog", "modelId": "article", "status": "PUBLISHED", "slug": title.lower()},
        "content": {"title": title},
    }
    for number, title in enumerate(["Hello", "Again", "Goodbye"], 1)
]
UPLOAD = """
mutation ($file: InitFileUploadInput!) {
  initFileUpload(initFileUploadInput: $file) { uploadId key preSignedUrls { partNumber url } }
}"""
COMPLETE = """
mutation ($upload: CompleteMultipartUploadInput!) {
  completeMultiPartUpload(completeMultipartUploadInput: $upload) { success }
}"""
IMPORT = "mutation ($job: CreateImportJobInput!) { createImportJob(createJobInput: $job) { id } }"
EXPORT = "mutation ($job: CreateExportJobInput!) { createExportJob(createJobInput: $job) { id } }"
JOB = "query ($id: String!) { job(id: $id) { status fileKey tasks { type status progress } } }"
LOGS = "query ($id: String!) { jobTaskLogs(jobId: $id, limit: 200) { items { type message } } }"
READ = "query ($site: String!) { entries(siteId: $site, limit: 200) { total items { id content } } }"
DOWNLOAD = "query ($key: String!) { fileDownloadUrl(key: $key) }"


class Refused(Exception):
    """The server does not do what it was asked for, and says why."""


class Organisation:
    """The content of one organisation."""

    def __init__(self, http: httpx.Client, name: str) -> None:
        self._http = http
        self._path = f"/v2/{name}/jobs/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        """The one thing that an operation is about."""
        headers = {"authorization": f"Bearer {token}"} if (token := os.environ.get("GNJ_TOKEN")) else {}
        answer = self._http.post(self._path, json={"query": query, "variables": variables}, headers=headers)
        body = answer.raise_for_status().json()
        if errors := body.get("errors"):
            raise Refused(errors[0]["message"])
        (value,) = body["data"].values()
        return value

    def upload(self, name: str, data: bytes) -> str:
        """Puts a file where imports find it; its key. The URLs of its parts are signed: they need no token."""
        upload = self.ask(UPLOAD, file={"name": name, "size": len(data)})
        urls = sorted(upload["preSignedUrls"], key=lambda part: part["partNumber"])
        size = 8 * 1024 * 1024  # of every part but the last, which is smaller
        parts = []
        for place, part in enumerate(urls):
            answer = self._http.put(part["url"], content=data[place * size : (place + 1) * size])
            parts.append({"partNumber": part["partNumber"], "eTag": answer.raise_for_status().headers["etag"]})
        self.ask(COMPLETE, upload={"uploadId": upload["uploadId"], "key": upload["key"], "multiPartUploads": parts})
        return upload["key"]

    def wait(self, id: str) -> dict:
        """The content job, when it is over; how far its tasks are is printed as they go on."""
        shown = ""
        while True:
            job = self.ask(JOB, id=id)
            now = ", ".join(f"{task['type']} {task['progress'] or 0:.0f} %" for task in job["tasks"])
            if now != shown:
                print(now, flush=True)
                shown = now
            if job["status"] in ("COMPLETED", "FAILED", "DELETED"):
                for line in reversed(self.ask(LOGS, id=id)["items"]):
                    print(f"{line['type']}: {line['message']}")
                if job["status"] != "COMPLETED":
                    raise Refused(f"the job {id} has ended as {job['status']}")
                return job
            time.sleep(0.2)


def main(url: str, name: str, path: str | None = None) -> None:
    data = "\n".join(map(json.dumps, ENTRIES)).encode() if path is None else Path(path).read_bytes()
    with httpx.Client(base_url=url, timeout=30) as http:
        acme = Organisation(http, name)
        key = acme.upload(Path(path or "articles.jsonl").name, data)
        made = acme.ask(IMPORT, job={"jobName": "Import", "jobType": "IMPORT_ENTRIES", "fileKey": key})
        acme.wait(made["id"])
        found = acme.ask(READ, site="blog")
        print(f"the site blog has {found['total']} entries")
        made = acme.ask(EXPORT, job={"jobName": "Export", "jobType": "EXPORT_ENTRIES"})
        done = acme.wait(made["id"])
        file = http.get(acme.ask(DOWNLOAD, key=done["fileKey"])).raise_for_status()
        Path("export.jsonl").write_bytes(file.content)
        print(f"export.jsonl has {len(file.text.splitlines())} lines")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Refused, httpx.HTTPError) as error:
        sys.exit(f"content_tour: {error}")
