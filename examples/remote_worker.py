"""A worker on a machine that cannot reach the database, only the server's GraphQL endpoint.

    gnj serve --token SECRET                                             # where the database is
    GNJ_TOKEN=SECRET python remote_worker.py http://127.0.0.1:8080/graphql        # anywhere

`python remote_worker.py URL some words` puts a job there instead, and waits for its end.
"""

import os
import sys
import time

import gnj
from gnj.client import create_job, get_new_client, list_jobs

handlers = gnj.Handlers()


@handlers.handler("count-words", max_attempts=3, backoff=gnj.Exponential(1.0, maximum=60), timeout=30)
def count_words(job: gnj.Job, ctx: gnj.Context) -> dict:
    words = ctx.step("split", job.input["text"].split)  # a try that follows a failed one does not do this again
    ctx.progress({"words": len(words)})
    return {word: words.count(word) for word in sorted(set(words))}


def main(url: str, *text: str) -> None:
    token = os.environ.get("GNJ_TOKEN")
    if not text:
        gnj.RemoteWorker(url, token=token, handlers=handlers).run()
        return
    with get_new_client(url, token) as client:
        id = create_job(client, {"type": "count-words", "input": {"text": " ".join(text)}})["id"]
        while (job := list_jobs(client, where={"id": id})[0])["status"] in ("queued", "processing"):
            time.sleep(0.2)
        print(job["status"], job["output"])


if __name__ == "__main__":
    main(*sys.argv[1:])
