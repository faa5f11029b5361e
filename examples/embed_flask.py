"""Jobs inside a Flask application: enqueued by its views, seen under /jobs, run by a worker in a process of its own.

flask --app embed_flask run
gnj worker embed_flask:handlers --database sqlite:///texts.db
curl -s localhost:5000/texts -d 'to be or not to be'
curl -s localhost:5000/texts/1
curl -s localhost:5000/jobs/graphql -H 'content-type: application/json' -d '{"query": "{ job { id status output } }"}'
curl -s localhost:5000/jobs/graphql -H 'content-type: application/json' \\
     -d '{"query": "mutation { addText(text: \\"to be\\") { id status } }"}'
"""

from collections import Counter

from flask import Flask, abort, request

import gnj
from gnj_flask import mount

handlers = gnj.Handlers()


@handlers.handler("count-words", max_attempts=3, backoff=gnj.Exponential(1.0, maximum=60))
def count_words(job: gnj.Job, ctx: gnj.Context) -> dict[str, int]:
    words = job.input["text"].split()
    ctx.progress({"words": len(words)})
    return dict(Counter(words))


def add_text(tx: gnj.Transaction, text: str) -> gnj.Job:
    """Counts the words of a text."""
    return tx.enqueue("count-words", {"text": text})


def create_app(database: str = "sqlite:///texts.db") -> Flask:
    app = Flask(__name__)
    jobs = gnj.GNJ(database, handlers=handlers)
    jobs.mutation(add_text, action="enqueue")  # a field of one's own in the jobs API; before it is mounted
    mount(app, jobs, "/jobs")

    @app.post("/texts")
    def post_text():
        job = jobs.enqueue("count-words", {"text": request.get_data(as_text=True)})
        return {"id": job.id}, 202

    @app.get("/texts/<int:id>")
    def show_text(id: int):
        job = jobs.get(id) or abort(404)
        return {"status": job.status, "words": job.output}

    return app


if __name__ == "__main__":
    create_app().run(port=5000)
