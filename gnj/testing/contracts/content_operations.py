"""The long operations of content stores: what each is done to, and what it is to come to."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from gnj.content.filters import Condition, EntryFilter
from gnj.content.references import mapped
from gnj.content.store import (
    CloneSite,
    ContentStore,
    CopyEnvironment,
    Delete,
    DeleteField,
    DropEnvironment,
    Holder,
    Operation,
    Reindex,
    Step,
    SyncEnvironment,
)
from gnj.queue.values import Json
from gnj.testing.contracts.content_support import MOST_STEPS, ONE, OTHER, THEN, asset, entry, made, page, written

CLONE: Final = "the clone"
"""The alias of a cloned site: what is in it has ids that its store chose."""
Shape: TypeAlias = dict[str, Any]
"""All that readers see of an environment, without what a store may choose: see `shape`."""


class Scene:
    """An organisation with two sites and two models in its default environment `main`, whose entries name one another, their
    sites and assets.
    """

    def __init__(self, store: ContentStore, tenant: str) -> None:
        self.store, self.tenant = store, tenant
        store.ready(tenant)
        found = store.environment(tenant, None)
        assert found is not None
        self.main = found.id
        entries = [_entry(site, n) for site in ("s1", "s2") for n in range(3)]
        assets = [asset(path, site, id=f"a-{site}-{path}") for site in ("s1", "s2") for path in ("x", "y/z")]
        written(store, tenant, self.main, entries, assets)
        self.before = self.shape(self.main)
        self._stage: str | None = None

    def shape(self, environment_id: str) -> Shape | None:
        """See `shape`."""
        return shape(self.store, self.tenant, environment_id)

    def stage(self) -> str:
        """A further environment, some of whose content is that of the default one."""
        if self._stage is not None:
            return self._stage
        stage = self._stage = made(self.store, self.tenant, "stage")
        mine = [replace(_entry("s1", n), site_id="mine", site_alias="blog", model_id=f"m{n}") for n in range(2)]
        assets = [asset(path, site, id=f"a-{site}-{path}", size=9) for site in ("mine", "gone") for path in ("x", "w")]
        written(self.store, self.tenant, stage, [*mine, entry("left over", "gone", content={"title": "-"})], assets)
        return stage

    def begin(self, begun: Begun, holder: Holder) -> None:
        """Has the holder do an operation, from its beginning or where another one has left it."""
        if begun.opens:
            self.store.open(self.tenant, begun.target, holder)

    def steps(self, operation: Operation, holder: Holder, cursor: Json = None) -> Iterator[tuple[Json, Step]]:
        """The steps to the end, each with the cursor that it began with, which was noted as JSON in between."""
        for _ in range(MOST_STEPS):
            step = self.store.step(self.tenant, holder, operation, cursor)
            yield cursor, step
            if step.over:
                return
            cursor = json.loads(json.dumps(step.cursor))
        raise AssertionError("the operation does not end")

    def end(self, begun: Begun, holder: Holder) -> None:
        """Publishes what the operation has written; it has to be what it was to come to."""
        seen = self.shape(begun.target)
        if begun.publishes:
            assert seen == begun.seen
            self.store.publish(self.tenant, begun.target, holder)
            self.store.unpin(self.tenant, holder)
            seen = self.shape(begun.target)
        assert seen == begun.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An operation, ready to be done by any holder of the job of `ONE`."""

    operation: Operation
    target: str
    """The environment that it changes."""
    seen: Shape | None
    """What readers see of it until it is published."""
    wanted: Shape | None
    """What they see of it in the end."""
    opens: bool = True
    """Whether it needs a writer."""
    publishes: bool = True


def shape(store: ContentStore, tenant: str, environment_id: str) -> Shape | None:
    """All that readers see of an environment; None: it cannot be seen.

    Sites are called by their aliases, and what is in a clone by its place, also where they are named in texts.
    """
    if store.environment(tenant, environment_id) is None:
        return None
    sites = {each.id: each for each in store.sites(tenant, environment_id)}
    assets = store.assets(tenant, environment_id, site_id=None, offset=0, limit=1_000).items
    entries = page(store, tenant, environment_id)
    names = {id: f"<{each.alias}>" for id, each in sites.items()}
    clones = {id for id, each in sites.items() if each.alias == CLONE}
    names |= {each.id: f"<{CLONE} {each.path}>" for each in assets if each.site_id in clones}
    names |= {each.id: f"<{CLONE} {each.content['title']}>" for each in entries if each.site_id in clones}

    def called(values: Any) -> Any:
        given = {"id": names.get(values.id, values.id), "site_id": names[values.site_id]}
        if hasattr(values, "content"):
            given |= {"content": mapped(values.content, names), "attrs": mapped(values.attrs, names)}
        return replace(values, **given)

    return {
        "sites": {each.alias: (each.name, each.logo) for each in sites.values()},
        "models": {
            each.id: (each.alias, each.name, [field["alias"] for field in each.fields])
            for each in store.models(tenant, environment_id)
        },
        "entries": {each.id: each for each in map(called, entries)},
        "assets": {(each.site_id, each.path): each for each in map(called, assets)},
    }


def _entry(site: str, n: int) -> Any:
    content = {
        "title": f"{site} no. {n}",
        "of": [site, {"a": f"{site}-{(n + 1) % 3}", site: f"a-{site}-x"}, "s1 and s2"],
    }
    return entry(
        f"{site}-{n}",
        site,
        "article" if n else "note",
        site_alias={"s1": "blog", "s2": "shop"}[site],
        status=("live", None, "draft")[n],
        slug=f"slug-{n}",
        labels=("x", "y")[:n],
        created_at=THEN,
        updated_at=THEN,
        content=content | ({"extra": n} if n else {}),
        attrs={"from": site},
    )


def _without(seen: Shape | None, kind: str, is_gone: Callable[[Any], bool]) -> Shape:
    """The shape less some of its entries or assets."""
    left = copy.copy(seen)
    assert left is not None
    left[kind] = {key: each for key, each in left[kind].items() if not is_gone(each)}
    return left


def _delete(is_entry_gone: Callable[[Any], bool], is_asset_gone: Callable[[Any], bool], **given: Any) -> Prepare:
    def prepare(scene: Scene) -> Begun:
        wanted = _without(_without(scene.before, "entries", is_entry_gone), "assets", is_asset_gone)
        operation = Delete(environment_id=scene.main, entries=True, assets=True, **given)
        return Begun(operation=operation, target=scene.main, seen=scene.before, wanted=wanted)

    return prepare


def _changed(change: Callable[[Shape], None], operation: Callable[[str], Operation]) -> Prepare:
    def prepare(scene: Scene) -> Begun:
        wanted = copy.deepcopy(scene.before)
        assert wanted is not None
        change(wanted)
        return Begun(operation=operation(scene.main), target=scene.main, seen=scene.before, wanted=wanted)

    return prepare


def _no_labels(seen: Shape) -> None:
    for id, each in seen["entries"].items():
        if each.site_id == "<shop>":
            seen["entries"][id] = replace(each, labels=())


def _no_field(*sites: str) -> Callable[[Shape], None]:
    def change(seen: Shape) -> None:
        for id, each in seen["entries"].items():
            if each.site_id in sites:
                content = {name: value for name, value in each.content.items() if name != "extra"}
                seen["entries"][id] = replace(each, content=content)
        if len(sites) == 2:
            alias, name, fields = seen["models"]["article"]
            seen["models"]["article"] = (alias, name, [each for each in fields if each != "extra"])

    return change


def _cloned(seen: Shape) -> None:
    """A site more, in which everything that names something of the base names the copy of it."""
    titles = {each.id: each.content["title"] for each in seen["entries"].values()}
    new = {"<blog>": f"<{CLONE}>"}
    new |= {id: f"<{CLONE} {title}>" for id, title in titles.items() if id.startswith("s1")}
    new |= {each.id: f"<{CLONE} {each.path}>" for each in seen["assets"].values() if each.site_id == "<blog>"}
    for kind in ("entries", "assets"):
        for each in [each for each in seen[kind].values() if each.site_id == "<blog>"]:
            copied = replace(each, id=new[each.id], site_id=f"<{CLONE}>")
            if kind == "entries":
                copied = replace(copied, content=mapped(each.content, new), attrs=mapped(each.attrs, new))
            seen[kind][copied.id if kind == "entries" else (copied.site_id, copied.path)] = copied
    seen["sites"][CLONE] = ("The clone", "logo.png")


def _copy(scene: Scene) -> Begun:
    target = scene.store.reserve(scene.tenant, "copy", "Copy", ONE.job)
    operation = CopyEnvironment(base=scene.main, environment_id=target)
    return Begun(operation=operation, target=target, seen=None, wanted=scene.before, opens=False)


def _sync(scene: Scene) -> Begun:
    target = scene.stage()
    operation = SyncEnvironment(base=scene.main, target=target)
    return Begun(operation=operation, target=target, seen=scene.shape(target), wanted=scene.before)


def _drop(scene: Scene) -> Begun:
    target = scene.stage()
    scene.store.open(scene.tenant, target, OTHER)
    drop = DropEnvironment(environment_id=target)
    return Begun(operation=drop, target=target, seen=None, wanted=None, opens=False, publishes=False)


def _reindex(scene: Scene) -> Begun:
    operation, same = Reindex(environment_id=scene.main, what="general"), scene.before
    return Begun(operation=operation, target=scene.main, seen=same, wanted=same, opens=False, publishes=False)


Prepare: TypeAlias = Callable[[Scene], Begun]
OPERATIONS: Final[Mapping[str, Prepare]] = {
    "delete all": _delete(lambda _: True, lambda _: True),
    "delete of a site": _delete(lambda e: e.site_id == "<blog>", lambda a: a.site_id == "<blog>", site_id="s1"),
    # assets have no model, and nothing that a filter asks for
    "delete of a model": _delete(lambda e: e.model_id == "note", lambda _: False, model="note"),
    "delete by a filter": _delete(
        lambda e: e.status == "live" and e.site_id == "<shop>",
        lambda _: False,
        site_id="s2",
        filter=EntryFilter((Condition("Status", "Eq", "live"),)),
    ),
    "delete of labels": _changed(_no_labels, lambda main: Delete(environment_id=main, site_id="s2", labels=True)),
    "delete of a field": _changed(
        _no_field("<blog>", "<shop>"), lambda main: DeleteField(environment_id=main, model="article", field="extra")
    ),
    "delete of a site's field": _changed(
        _no_field("<blog>"),
        lambda main: DeleteField(environment_id=main, site_id="s1", model="article", field="extra"),
    ),
    "clone": _changed(
        _cloned,
        lambda _: CloneSite(site_id="s1", new_id="s1-clone", alias=CLONE, name="The clone", logo="logo.png"),
    ),
    "copy": _copy,
    "sync": _sync,
    "drop": _drop,
    "reindex": _reindex,
}
"""Each kind of operation: what makes it ready in a scene."""
WRITING: Final = ("delete all", "delete of labels", "delete of a field", "clone", "sync")
"""Those that need a writer, one of each sort: the other deletes differ in what they are about only."""
SORTS: Final = (*WRITING, "copy", "drop", "reindex")
"""One of each sort."""
