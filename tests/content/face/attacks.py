"""Operations made from the schema of the content face: each root field, with somebody else's ids in every place that takes one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLInputObjectType, get_named_type, is_list_type, is_non_null_type

from gnj.api.content import build_schema

SCHEMA: Any = build_schema()
MISSING = {
    "job": "2000000000",
    "task": "2000000000",
    "recurring": "2000000000",
    "environment": "env_0123456789abcdef01234567",
    "site": "no-such-site",
    "model": "no-such-model",
    "key": "uploads/0/none",
    "upload": "0" * 32,
    "alias": "no-such-alias",
}
"""Ids that nothing has, by what they are of."""
NAMES = {
    "Query.job.id": "job",
    "Query.jobTaskLogs.jobId": "job",
    "Query.jobTaskLogs.jobTaskId": "task",
    "Query.jobs.recurringJobId": "recurring",
    "Query.recurringJob.id": "recurring",
    "Query.fileDownloadUrl.key": "key",
    "Mutation.deleteJob.id": "job",
    "Subscription.jobUpdated.id": "job",
    "environmentId": "environment",
    "baseEnvironmentId": "environment",
    "targetEnvironmentId": "environment",
    "siteId": "site",
    "baseSiteId": "site",
    "modelId": "model",
    "model": "model",
    "recurringJobId": "recurring",
    "fileKey": "key",
    "key": "key",
    "uploadId": "upload",
    "newEnvironmentAlias": "alias",
}
"""What each place names: by its own name, or by its path where that tells more."""
NO_NAMES = {
    "search",
    "filter",
    "name",
    "jobName",
    "fieldAlias",
    "cronExpression",
    "newEnvironmentDisplayName",
    "newSiteAlias",
    "newSiteName",
    "newSiteLogo",
    "eTag",
}
"""Texts that name nothing."""
VALUES: dict[str, Any] = {
    "Int": 1,
    "Long": 5,
    "Boolean": True,
    "String": "own",
    "DateTime": "2024-05-14T10:00:00Z",
    "JobType": "IMPORT_ENTRIES",
    "JobStatus": "PENDING",
    "RecurringJobStatus": "SCHEDULED",
    "LogType": "ERROR",
    "DeleteContentTaskTypes": "DELETE_ENTRIES",
}
PAGE = {"offset": 0, "limit": 5}
BASES: dict[str, dict[str, Any]] = {
    "jobs": {"type": "SYNC_ENVIRONMENTS"},
    "recurringJobs": {"status": "ACTIVE"},
    "createExportJob": {"createJobInput": {"jobName": "own", "jobType": "EXPORT_ENTRIES"}},
    "syncEnvironmentJob": {"createJobInput": {"cronExpression": "0 3 * * *"}},
}
"""What some fields need to be given, to come as far as they can."""
FILTERED = {
    "entries": ("filter",),
    "createDeleteJob": ("createJobInput", "filter"),
    "createExportJob": ("createJobInput", "filter"),
}


@dataclass(frozen=True)
class Id:
    """Stands for an id."""

    kind: str


@dataclass(frozen=True)
class Attack:
    """An operation whose arguments hold `Id`s: of somebody else's at `place`, of one's own elsewhere."""

    root: str
    field: str
    place: str
    kind: str
    given: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.root}.{self.field} {self.place}"


def fields(root: str) -> dict[str, Any]:
    return dict(SCHEMA.type_map[root].fields)


def text_of(root: str, name: str) -> str:
    """The operation with every argument as a variable, and all that can be selected."""
    field = fields(root)[name]
    declared = ", ".join(f"${argument}: {definition.type}" for argument, definition in field.args.items())
    passed = ", ".join(f"{argument}: ${argument}" for argument in field.args)
    head = f"{root.lower()} {f'({declared})' if declared else ''}"
    return f"{head} {{ {name}{f'({passed})' if passed else ''}{selection(field.type, 4)} }}"


def selection(type: Any, levels: int) -> str:
    kind: Any = get_named_type(type)
    if not hasattr(kind, "fields"):
        return ""
    parts = ["__typename"]
    for name, field in kind.fields.items():
        if levels > 1 or not hasattr(get_named_type(field.type), "fields"):
            parts.append(name + selection(field.type, levels - 1))
    return f" {{ {' '.join(parts)} }}"


def operations() -> Iterator[tuple[str, str]]:
    for root in ("Query", "Mutation", "Subscription"):
        for name in fields(root):
            yield root, name


def attacks() -> Iterator[Attack]:
    """Every query and mutation, once for each place that names something."""
    for root, name in operations():
        if root == "Subscription":
            continue
        base = arguments(root, name)
        for path in places(base):
            given = deepcopy(base)
            kind = at(given, path).kind
            put(given, path, Id(f"their {kind}"))
            yield Attack(root, name, ".".join(map(str, path)), kind, given)
        if name in FILTERED:
            for key in ("SiteId", "ModelId", "Id"):
                given = deepcopy(base)
                put(given, FILTERED[name], Id(f"filter {key}"))
                if name == "createDeleteJob":
                    given["createJobInput"]["isDeleteFieldJob"] = False  # which has no filter
                yield Attack(root, name, f"filter {key}", "filter", given)


def arguments(root: str, name: str) -> dict[str, Any]:
    """What a field is given: all of its arguments."""
    given = {
        argument: example(definition.type, f"{root}.{name}.{argument}", argument)
        for argument, definition in fields(root)[name].args.items()
    }
    for argument, more in BASES.get(name, {}).items():
        given[argument] = {**given[argument], **more} if isinstance(more, dict) else more
    return given


def example(type: Any, path: str, name: str) -> Any:
    bare = type.of_type if is_non_null_type(type) else type
    if is_list_type(bare):
        return [example(bare.of_type, path, name)]
    kind: Any = get_named_type(bare)
    if isinstance(kind, GraphQLInputObjectType):
        return {key: example(field.type, f"{path}.{key}", key) for key, field in kind.fields.items()}
    if kind.name == "String":
        if named := NAMES.get(path, NAMES.get(name)):
            return Id(named)
        assert name in NO_NAMES, f"{path}: does it name something?"
        return None if name in ("filter", "search") else "own"
    return PAGE.get(name, VALUES[kind.name])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, Id):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from places(inner, (*path, place))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: tuple[Any, ...], new: Any) -> None:
    at(value, path[:-1])[path[-1]] = new


def filled(value: Any, own: dict[str, str], theirs: dict[str, str]) -> Any:
    """`value` with ids in the places of what stands for them."""
    if isinstance(value, Id):
        kind = value.kind
        if kind.startswith("filter "):
            key = kind.removeprefix("filter ")
            id = theirs[{"SiteId": "site", "ModelId": "model", "Id": "entry"}[key]]
            return json.dumps({"system": {key: {"In": [id]}}})
        return theirs[kind.removeprefix("their ")] if kind.startswith("their ") else own[kind]
    if isinstance(value, dict):
        return {key: filled(inner, own, theirs) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, own, theirs) for inner in value]
    return value
