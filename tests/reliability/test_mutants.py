"""The mutation check: what it would break is there to be broken. `python -m benchmarks.reliability.mutants` runs it."""

import re

import pytest

from benchmarks.reliability.mutants import ROOT, TESTS
from benchmarks.reliability.mutations import MUTATIONS, apply


def test_all_five_mutations_are_listed():
    assert list(MUTATIONS) == ["no-fence", "no-lease", "read-then-write", "cancel-on-boot", "early-answer"]


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_a_mutation_replaces_exists(monkeypatch, name):
    for owner, attribute, replacement in MUTATIONS[name].patches:
        assert getattr(owner, attribute) is not replacement
        monkeypatch.setattr(owner, attribute, getattr(owner, attribute))  # puts it back in the end
    apply(name)
    for owner, attribute, replacement in MUTATIONS[name].patches:
        assert getattr(owner, attribute) is replacement


@pytest.mark.parametrize("test", TESTS)
def test_what_has_to_notice_exists(test):
    path, *names = test.split("::")
    assert (ROOT / path).is_file()
    # the tests of a contract are in the class that its storage inherits from
    found = (ROOT / path).read_text("utf-8") + "".join(
        contract.read_text("utf-8") for contract in (ROOT / "gnj/testing/contracts").glob("*.py")
    )
    for name in names:
        assert re.search(rf"(class|def) {name}\b", found)
