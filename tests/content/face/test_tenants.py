"""Two organisations crossed over every operation of the schema: nothing of one is seen or changed by the other.

What the attacker is answered for something of the victim must be what it is answered for what does not exist, word for
word; and whatever it does, everything of the victim stays as it was.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.content.face.attacks import FILTERED, arguments, attacks, filled, operations, text_of
from tests.content.face.worlds import ATTACKER, THEIRS, VICTIM, World


@pytest.fixture
def world(jobs, client, files, put):
    return World(jobs, client, files, put)


@pytest.mark.parametrize("client", ["asgi"], indirect=True)
def test_no_operation_reaches_what_is_another_organisations(world):
    tried, leaks = world.attacked()
    assert leaks == []
    assert tried > 35


@pytest.mark.parametrize("client", ["asgi"], indirect=True)
def test_what_is_refused_above_is_not_refused_to_whom_it_belongs(world):
    worked, tried = set(), set()
    for number, attack in enumerate(attacks()):
        if attack.kind in ("alias", "filter") or attack.field == "completeMultiPartUpload":
            continue
        tried.add(str(attack))
        own = world.furnish(ATTACKER, f"own{number}")
        if world.answer(attack, own, own) != world.answer(attack, own, THEIRS):
            worked.add(str(attack))
    # where what is deleted is looked for when the job runs, any id is taken
    later = {"Mutation.createDeleteJob createJobInput.siteId", "Mutation.createDeleteJob createJobInput.model"}
    assert tried - worked == later


def test_every_operation_at_anothers_path_is_not_found(world):
    theirs = world.furnish(VICTIM, "PRIVATE")
    before = world.rows(VICTIM)
    answers = set()
    for root, name in operations():
        given = filled(arguments(root, name), theirs, theirs)
        response = world.post(VICTIM, ATTACKER, text_of(root, name), given)
        answers.add((response.status_code, response.text))
    ((status, text),) = answers
    assert status == 404
    assert "PRIVATE" not in text
    assert world.rows(VICTIM) == before


@pytest.mark.parametrize("client", ["asgi"], indirect=True)
def test_lists_are_the_same_with_and_without_another_organisation(world):
    own = world.furnish(ATTACKER, "own")
    queries = [name for root, name in operations() if root == "Query"]

    def ask() -> dict[str, str]:
        asked = {}
        for attack in attacks():
            if attack.root == "Query":
                given = filled(attack.given, own, own | {"entry": own["entry"]})
                asked[str(attack)] = json.dumps(world.run(ATTACKER, text_of("Query", attack.field), **given))
        for name in ("environments", "jobs", "recurringJobs", "sites", "models", "entries", "assets"):
            asked[name] = json.dumps(world.run(ATTACKER, text_of("Query", name)))
        assert {each.split(".")[-1].split()[0] for each in asked} >= set(queries)
        return {name: re.sub(r"PT[0-9.]+S|expires=[^\"]*", "#", text) for name, text in asked.items()}

    before = ask()
    world.furnish(VICTIM, "PRIVATE")
    assert ask() == before


def test_filters_are_tried_wherever_there_is_one():
    assert {name for root, name in operations() if "'filter'" in str(arguments(root, name))} == set(FILTERED)
