"""A client of the REST API, of nothing but httpx: it adds jobs, waits until they have ended, and reads the list of them.

    cd examples
    GNJ_TOKEN=SECRET gnj serve --workers remote_worker:handlers            # whose handler works on the queue "count-words"
    GNJ_TOKEN=SECRET python rest_client.py http://127.0.0.1:8080 "to be or not to be" "to sleep"

It may send anything twice, for its jobs have ids of its own: where only the answer got lost, they are there once all the same.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

PAGE = 100
SILENCE = 30  # seconds; a stream of events says something every 12
WAITS = (0.5, 1, 2, 4, 8)  # seconds before each further try
BUSY = (429, 503)  # the server, or a proxy before it, wants to be asked again


class Refused(Exception):
    """The server does not do what it was asked for, and says why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class End(NamedTuple):
    """What became of a job: what its handler gave, or why it failed."""

    id: str
    returnvalue: Any = None
    failed: str | None = None


class Queue:
    """One queue of the server that `http` has as its `base_url`."""

    def __init__(self, http: httpx.Client, name: str) -> None:
        self._http = http
        self._path = f"queues/{quote(name, safe='')}"

    def add(self, name: str, many: Iterable[Any], **opts: Any) -> list[dict]:
        """A job for each of the data, all of them or none; `opts` are those of each."""
        jobs = [{"name": name, "data": data, "opts": {**opts, "jobId": f"{name}-{uuid.uuid4()}"}} for data in many]
        return self._ask("POST", "jobs", json=jobs).json()

    def get(self, id: str) -> dict:
        return self._ask("GET", f"jobs/{quote(id, safe='')}").json()

    def jobs(self, *statuses: str) -> Iterator[dict]:
        """All jobs that have these states, page by page."""
        for start in range(0, sys.maxsize, PAGE):
            page = {"statuses": ",".join(statuses), "start": start, "length": PAGE}
            jobs = self._ask("GET", "jobs", params=page).json()["jobs"]
            yield from jobs
            if len(jobs) < PAGE:
                return

    def ends(self, ids: Iterable[str]) -> Iterator[End]:
        """What becomes of these jobs, of each as soon as it is known."""
        left = set(ids)
        while left:
            stream = self._ask("GET", "events", stream=True, params={"events": "completed,failed,removed"})
            try:
                # it listens already: what ended before is asked for, what ends from now on is told, and nothing falls between
                for end in chain(self._asked(left), told(stream)):
                    if end.id in left:
                        left.remove(end.id)
                        yield end
                    if not left:
                        return
            except httpx.TransportError:
                pass  # it broke, with the server for example; as when it ends, the next one goes on
            finally:
                stream.close()
            time.sleep(WAITS[0])

    def _asked(self, ids: Iterable[str]) -> Iterator[End]:
        for id in sorted(ids):
            try:
                job = self.get(id)
            except Refused as refused:
                if refused.status != 404:
                    raise
                yield End(id, failed="removed")
            else:
                if "finishedOn" in job:
                    yield End(id, job["returnvalue"], job.get("failedReason"))

    def _ask(self, method: str, path: str, *, stream: bool = False, **content: Any) -> httpx.Response:
        """The answer, which is no error. Raises `Refused`; `httpx.TransportError` where nobody answers."""
        for wait in (*WAITS, None):
            request = self._http.build_request(method, f"{self._path}/{path}", timeout=SILENCE, **content)
            try:
                answer = self._http.send(request, stream=stream)
                if answer.is_success:
                    return answer
                answer.read()
            except httpx.TransportError:
                if wait is None:
                    raise
                time.sleep(wait)
                continue
            if wait is None or answer.status_code not in BUSY:
                break
            seconds = answer.headers.get("retry-after", "")
            time.sleep(int(seconds) if seconds.isdecimal() else wait)
        raise Refused(answer.status_code, reason_of(answer))


def reason_of(answer: httpx.Response) -> str:
    """What an answer says is wrong."""
    try:
        return answer.json()["error"]
    except (ValueError, TypeError, KeyError):
        return answer.reason_phrase  # a proxy's own page


def told(stream: httpx.Response) -> Iterator[End]:
    """The ends that a stream of events tells of (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    event = ""
    for line in stream.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            event = value
        elif field == "data":
            about = json.loads(value)
            failed = "removed" if event == "removed" else about.get("failedReason")
            yield End(about["jobId"], about.get("returnvalue"), failed)


def main(url: str, *texts: str) -> None:
    headers = {"authorization": f"Bearer {os.environ.get('GNJ_TOKEN', '')}"}
    with httpx.Client(base_url=url, headers=headers) as http:
        queue = Queue(http, "count-words")
        options = {
            "attempts": 3,
            "backoff": {"type": "exponential", "delay": 1000},
            "removeOnComplete": {"age": 86_400},
        }
        jobs = queue.add("count", [{"text": text} for text in texts], **options)
        texts_of = {job["id"]: job["data"]["text"] for job in jobs}
        for end in queue.ends(texts_of):
            print(f"{texts_of[end.id]}: {end.failed or end.returnvalue}", flush=True)
        print(f"{sum(1 for _ in queue.jobs('completed', 'failed'))} jobs have ended so far")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Refused, httpx.HTTPError) as error:
        sys.exit(f"rest_client: {error}")
