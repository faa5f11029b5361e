"""From the URL of a feed to clean records: saved as a job, run, and read.

    pip install "gnj[server,transform]"
    gnj serve
    python transform_tour.py http://127.0.0.1:8080 https://shop.example/feed.csv

A server that asks for a token finds it in GNJ_TOKEN. A feed on this machine must be allowed: `gnj serve --fetch-allow 127.0.0.1`.
The mapping is generated from the first records of the feed; change TARGET to what you want to have.
"""

import json
import os
import sys
from typing import Any

import httpx

TARGET = {
    "sku": {"type": "string", "attributes": ["primary"]},
    "name": {"type": "string", "attributes": ["required", "capitalized"]},
    "price": {"type": "number", "attributes": ["decimalNumber"]},
    "available": {"type": "boolean"},
}
SAVE = """
mutation ($url: String!, $target: JSON) {
  saveJob(source: {sourceRequest: {name: "Tour", type: Feed, url: $url}}, targetFormat: {data: $target})
}"""
RUN = "mutation ($id: ID!) { runJob(id: $id) }"
JOB = "query ($id: ID!) { getJob(id: $id) { status nextRun mapping { mapping } } }"
RUNS = "query ($id: ID!) { getRuns(jobId: $id, limit: 1) { id status error read written rejected } }"
RECORDS = """
query ($id: ID!, $offset: Int) {
  getJobRecords(jobId: $id, offset: $offset, limit: 500) { total records rejectedTotal rejected { reasons } }
}"""


class Refused(Exception):
    """The server does not do what it was asked for, and says why."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["extensions"]["code"]


def ask(http: httpx.Client, query: str, **variables: Any) -> Any:
    """The one thing that an operation is about."""
    headers = {"authorization": f"Bearer {token}"} if (token := os.environ.get("GNJ_TOKEN")) else {}
    answer = http.post("/transform/graphql", json={"query": query, "variables": variables}, headers=headers)
    body = answer.json()
    if errors := body.get("errors"):
        raise Refused(errors[0])
    (value,) = body["data"].values()
    return value


def main(url: str, feed: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as http:
        id = ask(http, SAVE, url=feed, target=TARGET)
        try:
            went_well = ask(http, RUN, id=id)  # joins the run that saving it has begun
        except Refused as error:
            if error.code != "STILL_RUNNING":
                raise
            sys.exit(f"transform_tour: {error}; look at the job {id} later")
        (run,) = ask(http, RUNS, id=id)
        if not went_well:
            sys.exit(f"transform_tour: the run has failed: {run['error']}")
        job = ask(http, JOB, id=id)
        for rule in job["mapping"]["mapping"]:
            print(f"{rule['targetField']} is {rule['sourceField']} {rule.get('transform', '')}".rstrip())
        print(f"{run['read']} records read, {run['written']} written, {run['rejected']} rejected")
        offset = 0
        while (page := ask(http, RECORDS, id=id, offset=offset))["records"]:
            for record in page["records"]:
                print(json.dumps(record))
            offset += len(page["records"])
        for rejected in ask(http, RECORDS, id=id)["rejected"]:
            print(f"rejected: {', '.join(rejected['reasons'])}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(
            "usage: python transform_tour.py SERVER FEED, such as http://127.0.0.1:8080 https://shop.example/feed.csv",
            file=sys.stderr,
        )
        sys.exit(2)
    try:
        main(*sys.argv[1:])
    except (Refused, httpx.HTTPError) as error:
        sys.exit(f"transform_tour: {error}")
