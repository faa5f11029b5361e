"""A worker that is called: an HTTP endpoint, of nothing but the standard library, which the server calls for each job of a queue.

    gnj serve --fetch-allow 127.0.0.1:8090                     # other ports and private addresses only if named
    python push_worker.py http://127.0.0.1:8080 8090           # registers itself for the queue "word-counts", and answers

    curl http://127.0.0.1:8080/queues/word-counts/jobs -H 'content-type: application/json' \\
        -d '[{"name": "hamlet", "data": {"text": "to be or not to be"}}]'

Every call is signed with a secret that only the two know; `gnj.verify_push(secret, headers, body)` does what `is_genuine` does.
The same job may come twice, when the answer to the first call got lost: its `id` and `attemptsStarted` tell.
"""

import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

QUEUE = "word-counts"
SECRET = os.environ.get("PUSH_SECRET") or secrets.token_hex(32)


def is_genuine(timestamp: str, signature: str, body: bytes) -> bool:
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > 300:
        return False  # else a call that somebody recorded could be repeated for ever
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"v1={expected}".encode(), signature.encode())


def count_words(data: dict) -> dict:
    words = data["text"].split()
    return {word: words.count(word) for word in sorted(set(words))}


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which keeps the connection open for the next call

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not is_genuine(self.headers.get("gnj-timestamp", ""), self.headers.get("gnj-signature", ""), body):
            self.answer(401, {"error": "the signature is wrong"})
            return
        job = json.loads(body)["job"]
        try:
            self.answer(200, count_words(job["data"]))
        except (AttributeError, KeyError, TypeError) as error:
            self.answer(422, {"error": f"{job['id']} has no text: {error!r}"})  # the try fails

    def answer(self, status: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def register(server: str, port: int) -> None:
    registration = {
        "queue": QUEUE,
        "endpoint": {"url": f"http://127.0.0.1:{port}/", "method": "POST", "timeout": 10_000},
        "opts": {"concurrency": 4},
        "secret": SECRET,
    }
    headers = {"content-type": "application/json", "authorization": f"Bearer {os.environ.get('GNJ_TOKEN', '')}"}
    request = urllib.request.Request(f"{server}/workers", json.dumps(registration).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        print(answer.read().decode(), flush=True)


def main(server: str, port: int) -> None:
    with ThreadingHTTPServer(("127.0.0.1", port), Endpoint) as endpoint:
        register(server, endpoint.server_port)
        endpoint.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
