"""Jobs inside a FastAPI application: enqueued by its routes, run by a worker in its lifespan, seen under /jobs.

python examples/embed_fastapi.py
curl -s localhost:8000/texts -H 'content-type: application/json' -d '{"text": "to be or not to be"}'
curl -s localhost:8000/texts/1
curl -s localhost:8000/jobs/graphql -H 'content-type: application/json' -d '{"query": "{ job { id status output } }"}'
"""

from collections import Counter
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

import gnj
from gnj_starlette import mount

jobs = gnj.GNJ("sqlite:///texts.db")


@jobs.handler("count-words", max_attempts=3, backoff=gnj.Exponential(1.0, maximum=60))
def count_words(job: gnj.Job, ctx: gnj.Context) -> dict[str, int]:
    words = job.input["text"].split()
    ctx.progress({"words": len(words)})
    return dict(Counter(words))


@asynccontextmanager
async def lifespan(_app: FastAPI):
    worker = jobs.worker(concurrency=2)
    worker.start()
    try:
        yield
    finally:
        await run_in_threadpool(worker.stop, grace=10)


app = FastAPI(lifespan=lifespan)
mount(app, jobs, "/jobs")


class Text(BaseModel):
    text: str


class Counted(BaseModel):
    id: int
    status: str
    words: dict[str, int] | None = None
    error: dict[str, str] | None = None


# plain functions: FastAPI calls them in a thread, as what asks a database should be
@app.post("/texts", status_code=202)
def add_text(text: Text) -> Counted:
    job = jobs.enqueue("count-words", text.model_dump())
    return Counted(id=job.id, status=job.status)


@app.get("/texts/{id}")
def show_text(id: int) -> Counted:
    job = jobs.get(id)
    if job is None:
        raise HTTPException(404, "there is no such text")
    # only a successful job has the output of its handler; a failed one has {"error": …}
    done = job.status == "successful"
    return Counted(id=job.id, status=job.status, words=job.output if done else None, error=None if done else job.output)


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=8000, timeout_graceful_shutdown=15)
