"""Where a host registers its operations: the three doors. Light, since every `GNJ` has them: what is brought through them loads the
rest (0.3 MB).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from gnj.operations.modes import Mode, Root
from gnj.queue.errors import SchemaFrozen
from gnj.queue.values import shown

if TYPE_CHECKING:
    from gnj.access import Kind
    from gnj.operations.registered import Extension, Mapped, Registered
    from gnj.operations.spec import Operation
    from gnj.operations.typed import Function

F = TypeVar("F", bound=Callable[..., Any])


class CustomOperations:
    """The part of `GNJ` by which a host adds operations of its own to the jobs schema.

    Everything is looked at when the schema is built, which mounting does: what is wrong then raises `SchemaError`, naming
    function, field, file and line. What comes later raises `SchemaFrozen`.
    """

    _frozen = False

    def __init__(self, custom_mutations: Mapping[str, Operation] | None = None) -> None:
        self._functions: list[Function] = []
        self._extensions: list[Extension] = []
        self._mapped: list[Mapped] = []
        if custom_mutations:
            from gnj.operations.registered import Mapped  # noqa: PLC0415 - see above
            from gnj.operations.spec import Origin, caller  # noqa: PLC0415 - likewise

            there = Origin.of_frame(caller(3), "custom_mutations")
            self._mapped += [
                Mapped(name=name, operation=each, origin=Origin.of(each.resolve, there))
                for name, each in custom_mutations.items()
            ]

    def adopt(self, other: CustomOperations) -> None:
        """Takes over what was registered with another one, in whose place this one serves; `other` keeps it as well."""
        self._functions += other._functions
        self._extensions += other._extensions
        self._mapped += other._mapped

    def freeze(self) -> Registered:
        """What was registered; from now on nothing can be."""
        from gnj.operations.registered import Registered  # noqa: PLC0415 - likewise

        self._frozen = True
        return Registered(self, tuple(self._functions), tuple(self._mapped), tuple(self._extensions))

    @overload
    def mutation(self, fn: F, /) -> F: ...

    @overload
    def mutation(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        transaction: str = Mode.READ_COMMITTED,
        action: Kind | str | None = None,
    ) -> Callable[[F], F]: ...

    def mutation(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        transaction: str = Mode.READ_COMMITTED,
        action: Kind | str | None = None,
    ) -> Any:
        """Makes a field of Mutation of the decorated function, sync or async: `@jobs.mutation` or `@jobs.mutation(...)`.

        Its parameters are the arguments and its result is the result, by their annotations. A parameter annotated
        `gnj.Transaction` (`gnj.AsyncTransaction` in an async function) receives the open transaction, which is committed when
        the function returns and rolled back when it raises; `gnj.RequestContext` and `gnj.Principal` likewise are given.

        Args:
            fn: The function.
            name: The field; that of the function in camelCase unless given.
            description: What the schema says of it; the first paragraph of the docstring unless given.
            transaction: `read_committed`; `serializable`, in which case the function may be called again, from its
                beginning, when others were in its way; or `none`.
            action: What `authorize` and the scopes of tokens are asked: `read`, `enqueue`, `work` or `admin`; `admin` for
                mutations and `read` for queries and subscriptions unless given.

        Raises `SchemaFrozen` when the schema was built already.
        """
        options = {"name": name, "description": description, "transaction": transaction, "action": action}
        return self._registered(Root.MUTATION, fn, options)

    @overload
    def query(self, fn: F, /) -> F: ...

    @overload
    def query(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        transaction: str = Mode.READ_COMMITTED,
        action: Kind | str | None = None,
    ) -> Callable[[F], F]: ...

    def query(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        transaction: str = Mode.READ_COMMITTED,
        action: Kind | str | None = None,
    ) -> Any:
        """Makes a field of Query of the decorated function; see `mutation`."""
        options = {"name": name, "description": description, "transaction": transaction, "action": action}
        return self._registered(Root.QUERY, fn, options)

    @overload
    def subscription(self, fn: F, /) -> F: ...

    @overload
    def subscription(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        action: Kind | str | None = None,
    ) -> Callable[[F], F]: ...

    def subscription(
        self,
        fn: Any = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        action: Kind | str | None = None,
    ) -> Any:
        """Makes a field of Subscription of the decorated generator, sync or async; see `mutation`.

        What it yields is told to the one subscriber it was called for; it has no transaction. An async generator runs on the
        host's event loop.
        """
        options = {"name": name, "description": description, "action": action}
        return self._registered(Root.SUBSCRIPTION, fn, options)

    def extend(
        self,
        type_defs: str | Sequence[str] = "",
        bindables: Iterable[Any] = (),
        *,
        transaction: str = Mode.READ_COMMITTED,
        action: Kind | str | None = None,
    ) -> None:
        """Adds SDL and the Ariadne bindables that resolve it to the jobs schema.

        Resolvers find `tx`, `principal`, `request` and `gnj` in `info.context`, and their arguments spelled as in the SDL. The
        transaction is opened when a resolver of a root field first looks `tx` up (in an async one it is open), and ends with
        that resolver. A field of a type of the SDL's own without a resolver is read from the source value: the item, or
        attribute, of the same name, which has to be there.

        Args:
            type_defs: Types of the host's, and `extend type Query`, `Mutation` or `Subscription`.
            bindables: MutationType, QueryType, ObjectType, EnumType, ScalarType …
            transaction: Of all its root fields; see `mutation`.
            action: Of all its root fields; see `mutation`.

        Raises `SchemaFrozen` when the schema was built already.
        """
        from gnj.operations.registered import Extension  # noqa: PLC0415 - likewise
        from gnj.operations.spec import Origin, caller  # noqa: PLC0415 - likewise

        self._check_open("extend")
        text = type_defs if isinstance(type_defs, str) else "\n\n".join(type_defs)
        origin = Origin.of_frame(caller(), "extend")
        self._extensions.append(
            Extension(type_defs=text, bindables=tuple(bindables), origin=origin, transaction=transaction, action=action)
        )

    def _registered(self, root: Root, fn: Any, options: Mapping[str, Any]) -> Any:
        from gnj.operations.spec import Origin, caller  # noqa: PLC0415 - likewise

        self._check_open(f"@{root.lower()}")
        frame = caller(3)
        # the types a function's annotations name may be those of the function it stands in
        names = {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)

        def register(fn: F) -> F:
            self._check_open(f"@{root.lower()}")
            if not callable(fn):
                raise Origin.of_frame(frame, f"@{root.lower()}").error(
                    f"takes a function, not {shown(fn)}: options have names"
                )
            from gnj.operations.typed import Function  # noqa: PLC0415 - 6 ms of `import gnj`

            self._functions.append(Function(root=root, fn=fn, origin=Origin.of(fn), names=names, **options))
            return fn

        return register if fn is None else register(fn)

    def _check_open(self, what: str) -> None:
        if self._frozen:
            raise SchemaFrozen(
                f"{what}: the schema was already built: register before mounting, and before the first request"
            )
