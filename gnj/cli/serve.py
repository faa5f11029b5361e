"""`gnj serve`."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from gnj.cli.collector import spare
from gnj.cli.options import Database, FetchAllow, Files, Grace, Log, allowed_hosts, check_hosts, is_typed
from gnj.cli.output import CommandError, LogLevel, end_on_signals, log_to_stderr

if TYPE_CHECKING:
    from gnj.app import GNJ

WEEK = 7 * 86_400.0
_RECOMMENDED = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


def serve(
    context: typer.Context,
    database: Database = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            envvar="GNJ_HOST",
            help="The name or address to listen on. Beyond this machine only with a token, an authenticate hook of the "
            "--workers object, or --insecure.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", envvar="GNJ_PORT", min=0, max=65535, help="0 picks a free one.")
    ] = 8080,
    lease: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            envvar="GNJ_LEASE",
            show_default="3600",
            help="How long a claim lasts whose acquireJob asks for no lease of its own. A worker that is silent for "
            "longer loses the job to another.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            envvar="GNJ_TOKEN",
            show_default="none: only direct requests from this machine are answered",
            help="What every request must carry, as [bold]Authorization: Bearer TOKEN[/]. Better in the environment: "
            "every user of the machine can read the command line.",
        ),
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:ATTR",
            envvar="GNJ_WORKERS",
            show_default="none: workers are processes of their own",
            help="Also run these handlers here: a gnj.GNJ, or gnj.Handlers.",
        ),
    ] = None,
    insecure: Annotated[  # noqa: FBT002 - how Typer declares a flag
        bool, typer.Option("--insecure", help="Answer everybody who can reach the port. Default: off.")
    ] = False,
    retention: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            envvar="GNJ_RETENTION",
            min=0,
            show_default="604800, a week",
            help="How long ended jobs are kept; 0: for ever. What was deleted goes after a day.",
        ),
    ] = None,
    fetch_allow: FetchAllow = None,
    files: Files = None,
    grace: Grace = 25,
    log_level: Log = LogLevel.WARNING,
) -> None:
    """Serve a database over HTTP: [bold]/graphql[/], REST below [bold]/queues[/], [bold]/metrics[/], and what
    [bold]/reference[/] describes; content jobs below [bold]/v2[/], transformation jobs at [bold]/transform/graphql[/].

    [bold]GNJ_SECRET_KEYS[/] has the keys of Fernet, separated by commas, that credentials of transformation sources are encrypted with.

    SIGTERM and Ctrl-C stop it: jobs and requests under way may finish within --grace, then it ends with exit code 0.
    """
    from gnj.cli.database import make_ready, open_jobs
    from gnj.cli.target import load

    end_if_told = end_on_signals()
    log_to_stderr(log_level)
    if token is not None and not token.strip():
        raise CommandError(f"the token is empty; this makes a good one: {_RECOMMENDED}")
    hosts = allowed_hosts(fetch_allow)
    target = load(workers) if workers else None
    if retention is None and (target is None or target.jobs is None or target.jobs.settings.retention is None):
        retention = WEEK
    jobs = open_jobs(
        database,
        target,
        typed=is_typed(context, "database"),
        lease=lease,
        token=token,
        retention=retention,
        fetch_allow=hosts,
        files=files,
    )
    check_hosts(jobs.settings.fetch_allow)
    if jobs.serves_transform:
        _ = jobs.transform  # what is wrong with its settings is told here, not by every request
    with ExitStack() as stack:
        stack.enter_context(jobs)
        sockets = bind(host, port)
        for each in sockets:
            stack.enter_context(each)
        _guard(jobs, sockets, insecure=insecure)
        make_ready(jobs)
        end_if_told()
        _serve(jobs, sockets, host, grace, with_workers=target is not None and bool(target.handlers.types))


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address of `host`, all on the same port; nothing is accepted yet. Raises `CommandError`."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise CommandError(f"{host} is no host to listen on: {error}") from error
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            each = socket.socket(family, kind, protocol)
        except OSError as error:
            failure = error
            continue
        if os.name == "posix":
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            each.bind((address[0], port, *address[2:]))
        except OSError as error:
            each.close()
            failure = error
            # a machine without IPv6 still resolves localhost to ::1
            if error.errno == errno.EADDRNOTAVAIL:
                continue
            break
        port = each.getsockname()[1]
        sockets.append(each)
    else:
        if sockets:
            return sockets
    for each in sockets:
        each.close()
    raise CommandError(_why(failure, host, port), exit_code=1)


def _why(error: OSError | None, host: str, port: int) -> str:
    number = error.errno if error else None
    if number == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: choose another with --port, or 0 for a free one"
    if number == errno.EACCES:
        return f"port {port} of {host} may not be used by this user: choose one above 1023 with --port"
    return f"cannot listen on port {port} of {host}: {error.strerror if error else 'it has no address'}"


def _guard(jobs: GNJ, sockets: list[socket.socket], *, insecure: bool) -> None:
    """Lets nobody in from outside who has not shown who they are, unless that is what was asked for."""
    from gnj.api.hooks import Principal
    from gnj.cli.database import make_ready
    from gnj.cli.existing import is_absent

    outside = [address for each in sockets if not _is_loopback(address := each.getsockname()[0])]
    if jobs.settings.token is not None or jobs.authenticate is not None or not (insecure or outside):
        return
    if not is_absent(jobs):
        make_ready(jobs)  # the database has the stored tokens
        if not jobs.answers_only_here():
            return
    if insecure:
        jobs.authenticate = lambda _context: Principal("anonymous", everywhere=True)
    else:
        raise CommandError(
            f"{outside[0]} can be reached from outside this machine, and nothing says who may: make a token with gnj token "
            "create, set GNJ_TOKEN or --token, or say --insecure"
        )


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _serve(jobs: GNJ, sockets: list[socket.socket], host: str, grace: float, *, with_workers: bool) -> None:
    from gnj import __version__
    from gnj.cli.database import shown_database, shown_files
    from gnj.cli.http import Server

    worker = jobs.worker() if with_workers else None
    shown = f"[{host}]" if ":" in host else host or "0.0.0.0"  # noqa: S104 - what an empty host stands for
    url = f"http://{shown}:{sockets[0].getsockname()[1]}"

    def announce() -> None:
        running = f", running {', '.join(sorted(jobs.handlers.types))}" if worker else ""
        print(
            f"gnj {__version__} serves {url}/graphql, database {shown_database(jobs)}{running}\n"
            f"REST below {url}/queues, described at {url}/reference",
            flush=True,
        )
        if jobs.serves_content:
            print(f"Content jobs below {url}/v2, files in {shown_files(jobs)}", flush=True)
        if jobs.serves_transform:
            print(f"Transformation jobs at {url}/transform/graphql", flush=True)
        spare()

    app = jobs.asgi_app()
    server = Server(
        app,
        app.prompt,
        grace=grace,
        announce=announce,
        stop_workers=lambda seconds: worker.stop(grace=seconds) if worker else None,
        end_subscriptions=jobs.end_subscriptions,
        limits=jobs.limits,
    )
    if worker is not None:
        worker.start()
    server.run(sockets)
    if not server.started:
        raise CommandError("the server did not start", exit_code=1)
