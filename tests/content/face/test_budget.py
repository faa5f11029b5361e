"""How much of the store one operation may ask for, by whatever names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gnj import GNJ
from gnj.api.content import store
from gnj.content.model import NewEntry
from tests.content.conftest import Ask


@pytest.mark.parametrize("client", ["asgi"], indirect=True)
@pytest.mark.parametrize("field", ["entries { items { id } }", "models { id }", "sites { id }"])
def test_an_operation_is_told_so_much_and_no_more(
    jobs: GNJ, put: Callable[..., str], ask: Ask, org: str, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    long = "x" * 200
    put(org, *(NewEntry(id=f"e{n}", site_id=f"{long}{n}", model_id="m", content={f"{long}{n}": 1}) for n in range(3)))
    monkeypatch.setattr(store, "MOST", 3_000)
    assert ask(f"{{ {field} }}").data
    answer = ask("{" + " ".join(f"f{n}: {field}" for n in range(9)) + "}")
    assert set(answer.codes) == {"INVALID_INPUT"}
    assert "more than 3,000 characters of content" in answer.body["errors"][0]["message"]
    monkeypatch.setattr(store, "MOST", 10)
    assert ask("{ entries(limit: 1) { items { id } } }").data  # one is told in any case
    monkeypatch.setattr(store, "MOST", 3_000)
    # each operation has as much
    assert ask(f"{{ {field} }}").data
