"""The published examples, word for word, apart from the ids of what has to exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.transform.face.conftest import FORMAT, RULES
from tests.transform.sites import answer, site

SEED = Path(__file__).parent / "seed"


def example(name: str) -> str:
    return (SEED / f"{name}.graphql").read_text()


@pytest.mark.parametrize("client", ["asgi", "wsgi"], indirect=True)
@pytest.mark.parametrize(
    "settings", [{}, pytest.param({"database": "sqlite://"}, marks=pytest.mark.backend("sqlite"))], ids=str
)
def test_the_examples_run_word_for_word(ask, jobs):
    assert ask(example("get_jobs")).data == {"getJobs": []}
    assert ask(example("run_job")).codes == ["NOT_FOUND"]
    assert ask(example("delete_job")).data == {"deleteJob": False}
    assert ask(example("save_job")).codes == ["NOT_FOUND"]  # its mapping and its format have to exist
    assert ask("{ getSources { id } }").value == []

    mapping = ask('mutation($m: [JSON!]!) { saveMapping(name: "Products", mapping: $m) }', m=RULES).value
    format = ask('mutation($f: JSON!) { saveTargetFormat(name: "Shop", targetFormat: $f) }', f=FORMAT).value
    text = example("save_job").replace("mapping456", mapping).replace("format789", format)
    id = ask(text).value  # the source is made: there is none of that id
    (job,) = ask(example("get_jobs")).value
    assert job == {
        "id": id,
        "status": "Pending",
        "sourceID": job["sourceID"],
        "mappingID": mapping,
        "targetSchemaID": format,
        "lastRun": None,
        "source": {"name": "My Shopify Store", "type": "Shopify"},
        "mapping": {"name": "Products"},
        "targetFormat": {"name": "Shop"},
    }
    # and is used from then on
    assert ask(text.replace("source123", job["sourceID"])).value != id
    assert ask("{ getSources { id } }").value == [{"id": job["sourceID"]}]
    assert ask(example("delete_job").replace("587", id)).value is True
    assert ask(example("delete_job").replace("587", id)).value is False


def test_a_job_of_the_examples_runs(ask, jobs):
    """A shop of this machine in the place of the one that is named."""
    body = b'{"products": [{"id": 5, "title": "Tea", "variants": [{"price": "3.50"}]}]}'
    rules = [
        {"sourceField": "id", "targetField": "id"},
        {"sourceField": "variants[0].price", "targetField": "price"},
    ]
    with site(**{"products.json": answer(body, "application/json")}) as shop, jobs.worker(transform=True):
        mapping = ask('mutation($m: [JSON!]!) { saveMapping(name: "P", mapping: $m) }', m=rules).value
        format = ask(
            "mutation($f: JSON!) { saveTargetFormat(targetFormat: $f) }",
            f={"id": {"type": "string", "attributes": ["primary"]}, "price": {"type": "number"}},
        ).value
        text = example("save_job").replace("mapping456", mapping).replace("format789", format)
        id = ask(text.replace("https://mystore.myshopify.com/", shop.url("/"))).value
        assert ask(example("run_job").replace("job123", id)).data == {"runJob": True}
        assert shop.asked[0].target == "/products.json?limit=250&page=1"
    (job,) = ask(example("get_jobs")).value
    assert job["status"] == "Live"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", job["lastRun"])
    found = ask("query($id: ID!) { getJobRecords(jobId: $id) { records } }", id=id).value
    assert found == {"records": [{"id": "5", "price": 3.5}]}


def test_no_example_is_left_out():
    tried = set(re.findall(r'example\("(\w+)"\)', Path(__file__).read_text()))
    assert {path.stem for path in SEED.glob("*.graphql")} == tried
