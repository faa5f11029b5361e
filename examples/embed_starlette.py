"""Jobs inside a Starlette application: enqueued by its routes, run by a worker in its lifespan, seen under /jobs.

python examples/embed_starlette.py
curl -s localhost:8000/texts -d 'to be or not to be'
curl -s localhost:8000/texts/1
curl -s localhost:8000/jobs/graphql -H 'content-type: application/json' -d '{"query": "{ job { id status output } }"}'
"""

from collections import Counter
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import gnj
from gnj_starlette import mount

jobs = gnj.GNJ("sqlite:///texts.db")


@jobs.handler("count-words", max_attempts=3, backoff=gnj.Exponential(1.0, maximum=60))
def count_words(job: gnj.Job, ctx: gnj.Context) -> dict[str, int]:
    words = job.input["text"].split()
    ctx.progress({"words": len(words)})
    return dict(Counter(words))


async def add_text(request: Request) -> JSONResponse:
    text = (await request.body()).decode()
    # the database is asked in a thread: the event loop serves others meanwhile
    job = await run_in_threadpool(jobs.enqueue, "count-words", {"text": text})
    return JSONResponse({"id": job.id}, status_code=202)


async def show_text(request: Request) -> JSONResponse:
    job = await run_in_threadpool(jobs.get, request.path_params["id"])
    if job is None:
        return JSONResponse({"error": "there is no such text"}, status_code=404)
    return JSONResponse({"status": job.status, "words": job.output})


@asynccontextmanager
async def lifespan(_app: Starlette):
    worker = jobs.worker(concurrency=2)
    worker.start()
    try:
        yield
    finally:
        await run_in_threadpool(worker.stop, grace=10)


routes = [Route("/texts", add_text, methods=["POST"]), Route("/texts/{id:int}", show_text)]
app = Starlette(routes=routes, lifespan=lifespan)
mount(app, jobs, "/jobs")

if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=8000, timeout_graceful_shutdown=15)
