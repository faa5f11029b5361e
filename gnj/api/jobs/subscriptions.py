"""The subscriptions of the jobs dialect (section 10 of the jobs contract, and section 0, point 13)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from graphql import GraphQLResolveInfo, GraphQLSchema

from gnj.api.jobs.roots import snake_case
from gnj.api.streams import SubscriptionField
from gnj.graphql.engine import Selected
from gnj.graphql.records import Resolver, Resolvers, fields_of
from gnj.queue.errors import SchemaError
from gnj.queue.feed import Change


def _job(change: Change, arguments: Mapping[str, Any]) -> Any:
    id = arguments.get("id")
    return change.value if id is None or id == change.value.id else None


def _pinged(_change: Change, _arguments: Mapping[str, Any]) -> Any:
    return {"success": True}


def _workers(change: Change, _arguments: Mapping[str, Any]) -> Any:
    return change.value


SUBSCRIPTIONS = (
    SubscriptionField(name="jobCreated", topics=("created",), pick=_job),
    SubscriptionField(name="jobUpdated", topics=("updated",), pick=_job),
    SubscriptionField(name="jobDeleted", topics=("deleted",), pick=_job),
    SubscriptionField(name="pinged", topics=("pinged",), pick=_pinged),
    SubscriptionField(name="ponged", topics=("ponged",), pick=_workers),
    SubscriptionField(name="workerMonitoringUpdated", topics=("monitored",), pick=_workers),
)
"""The fields of Subscription."""

_TOLD = ("workerId", "workerType", "workerStatus")

TOLD = Resolvers("workerInfoOutput", {name: lambda told, _info, name=name: told.get(name) for name in _TOLD})
"""What resolves the type that only subscriptions give."""


def type_defs() -> str:
    """The type Subscription and what only it leads to, as text."""
    return files("gnj.api.jobs").joinpath("subscriptions.graphql").read_text("utf-8")


class Subscriptions:
    """Binds fields to the root type Subscription; an Ariadne bindable.

    Args:
        fields: The root fields.
        shown: By field, what makes of an event's value what is shown, where that is not the value itself.

    Raises `SchemaError` when a field is there twice; and, binding, for what `Resolvers` refuses.
    """

    def __init__(
        self, fields: Iterable[SubscriptionField], shown: Mapping[str, Resolver] = MappingProxyType({})
    ) -> None:
        self._shown = shown
        self._fields: dict[str, SubscriptionField] = {}
        for each in fields:
            if each.name in self._fields:
                raise SchemaError(f"Subscription.{each.name} has two resolvers")
            self._fields[each.name] = each

    def bind_to_schema(self, schema: GraphQLSchema) -> None:
        """Sets what begins each field and what resolves its events, and the names of its arguments."""
        Resolvers("Subscription", {name: self._shown.get(name, _event) for name in self._fields}).bind_to_schema(schema)
        fields = fields_of(schema, "Subscription")
        for name in self._fields:
            fields[name].subscribe = _selected
            for argument, definition in fields[name].args.items():
                definition.out_name = snake_case(argument)


def _selected(_source: object, info: GraphQLResolveInfo[Any], **arguments: Any) -> Selected:
    # an argument of null is one that was not given (B18)
    return Selected(info.field_name, {name: value for name, value in arguments.items() if value is not None})


def _event(value: Any, _info: GraphQLResolveInfo[Any], **_arguments: object) -> Any:
    return value
