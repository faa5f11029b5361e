from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from datetime import datetime

import httpx
import pytest

from tests.subscribers import connected

STOPPED_CLIENT = """\
import socket, sys, time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
query = b'{"query": "{ job { output } }"}'
connection.sendall(b"POST /graphql HTTP/1.1\\r\\nhost: localhost\\r\\ncontent-type: application/json\\r\\n"
                   b"content-length: %d\\r\\n\\r\\n%s" % (len(query), query))
connection.recv(1)
print("reading", flush=True)
time.sleep(60)
"""


@pytest.fixture
def client():
    with httpx.Client(trust_env=False, timeout=20) as client:
        yield client


def ask(client, url, query, headers=None, **variables):
    answer = client.post(f"{url}/graphql", json={"query": query, "variables": variables}, headers=headers)
    body = answer.json()
    assert "errors" not in body, body
    return body["data"]


def create(client, url, **job):
    made = ask(client, url, "mutation ($job: jobInput!) { jobCreate(job: $job) { id } }", job=job)
    return made["jobCreate"]["id"]


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def connect(url):
    return socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20)


def test_it_serves_and_says_where(start, client, home):
    server = start("serve", "--port", "0")
    line = server.wait_for("gnj ")
    url = line.split("serves ")[1].split("/graphql")[0]
    assert line.endswith("/graphql, database sqlite:///gnj.db")
    rest = server.wait_for("REST")
    assert rest == f"REST below {url}/queues, described at {url}/reference"
    content = server.wait_for("Content")
    assert content == f"Content jobs below {url}/v2, files in {home / 'gnj-files'}"
    transform = server.wait_for("Transformation")
    assert transform == f"Transformation jobs at {url}/transform/graphql"
    assert client.get(f"{url}/queues").json()["queues"] == []
    assert client.get(f"{url}/reference").status_code == 200
    assert client.get(f"{url}/healthz").status_code == 200
    assert client.get(f"{url}/readyz").status_code == 200
    assert ask(client, url, "{ jobCount }") == {"jobCount": 0}
    assert (home / "gnj.db").exists()
    client.close()
    assert server.signal(signal.SIGTERM) < 5
    assert server.process.returncode == 0
    assert (server.lines, server.errors) == ([line, rest, content, transform], [])


def test_a_refusal_leaves_no_database(gnj_here, home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = gnj_here("serve", "--port", taken.getsockname()[1])
        assert (done.returncode, "is in use" in done.stderr) == (1, True)
    done = gnj_here("serve", "--port", "0", "--host", "0.0.0.0")
    assert (done.returncode, "can be reached from outside" in done.stderr) == (2, True)
    assert not (home / "gnj.db").exists()


def test_a_request_from_elsewhere_without_a_token_is_told_once(start, client):
    server = start("serve", "--port", "0")
    url = server.url()
    for _ in range(3):
        assert client.get(f"{url}/queues", headers={"x-forwarded-for": "1.1.1.1"}).status_code == 401
    client.close()
    server.signal(signal.SIGTERM)
    assert [line.partition("WARNING ")[2].partition(":")[0] for line in server.errors] == ["gnj.api"]
    assert "set GNJ_TOKEN" in server.errors[0]


def test_subscriptions_and_an_end_that_closes_them(start, client):
    server = start("serve", "--port", "0", "--grace", "10")
    url = server.url()
    host = url.removeprefix("http://")
    subscription = "subscription { jobCreated { id type } }"
    with connected(host) as subscriber, connected(host, "/graphql/") as idle, ExitStack() as stack:
        subscriber.init()
        subscriber.subscribe("a", subscription)
        subscriber.settle()
        stream = stack.enter_context(
            client.stream(
                "GET", f"{url}/graphql", params={"query": subscription}, headers={"accept": "text/event-stream"}
            )
        )
        with httpx.Client(trust_env=False, timeout=20) as another:
            id = create(another, url, type="mail")
            assert subscriber.next("a") == {"data": {"jobCreated": {"id": id, "type": "mail"}}}
            lines = stream.iter_lines()
            assert f'data: {{"data":{{"jobCreated":{{"id":{id},"type":"mail"}}}}}}' in (next(lines) for _ in range(5))
        server.process.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        assert subscriber.closed() == (1001, "The server ends")
        assert idle.closed() == (1001, "The server ends")
        server.wait()
        assert time.monotonic() - begin < 5
    assert (server.process.returncode, server.errors) == (0, [])


def test_a_handshake_with_too_long_a_line_is_refused(start):
    url = start("serve", "--port", "0").url()
    with connect(url) as connection:
        connection.sendall(
            b"GET /graphql?" + b"a" * 9_000 + b" HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
            b"connection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        )
        answer = b""
        while chunk := connection.recv(1000):
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 414 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_time_whatever_clients_do(start, client, number):
    server = start("serve", "--port", "0", "--grace", "3")
    url = server.url()
    for _ in range(4):
        create(client, url, type="big", status="successful", output={"text": "x" * 3_000_000})
    with ExitStack() as stack:
        idle = stack.enter_context(connect(url))
        idle.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200")
        half_a_head = stack.enter_context(connect(url))
        half_a_head.sendall(b"POST /graphql HTTP/1.1\r\nhost: loc")
        half_a_body = stack.enter_context(connect(url))
        half_a_body.sendall(
            b"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
        )
        stopped = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", STOPPED_CLIENT, url.rpartition(":")[2]], stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(stopped.kill)
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "reading\n"
        os.kill(stopped.pid, signal.SIGSTOP)
        seconds = server.signal(number)
        stopped.kill()
    assert server.process.returncode == 0
    assert seconds < 5  # 3, and what a busy machine takes to notice
    assert not any("Traceback" in line for line in server.errors), server.errors


def test_a_second_signal_does_not_wait(start, client):
    server = start("serve", "--port", "0", "--workers", "app:handlers")
    url = server.url()
    id = create(client, url, type="nap", input=30)
    wait_until(lambda: ask(client, url, "{ job { processingInfo } }")["job"][0]["processingInfo"])
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert server.process.poll() is None
    assert server.signal(signal.SIGINT) < 1
    assert server.process.returncode == 130
    assert id


def test_workers_of_its_own_finish_first(start, client, home):
    server = start("serve", "--port", "0", "--workers", "app:handlers", "--database", "sqlite:///other.db")
    line = server.wait_for("http://")
    assert "database sqlite:///other.db" in line
    assert line.endswith("running echo, nap")
    url = line.split("serves ")[1].split("/graphql")[0]
    create(client, url, type="echo", input={"a": 1})
    wait_until(lambda: ask(client, url, "{ job { output } }")["job"][0]["output"] == {"a": 1})
    create(client, url, type="nap", input=1.5)
    wait_until(lambda: ask(client, url, "{ job { processingInfo } }")["job"][1]["processingInfo"])
    server.signal(signal.SIGTERM)
    assert (server.process.returncode, server.errors) == (0, [])
    again = start("serve", "--port", "0", "--database", "sqlite:///other.db")
    jobs = ask(client, again.url(), "{ job { output status attempt } }")["job"]
    assert jobs[1] == {"output": "rested", "status": "successful", "attempt": 1}


def test_a_target_with_a_database_is_served_with_it(start, home):
    server = start("serve", "--port", "0", "--workers", "app:jobs", GNJ_DATABASE="sqlite:///ignored.db")
    assert server.wait_for("http://").endswith("database sqlite:///own.db, running echo")
    assert not (home / "ignored.db").exists()


def test_another_database_leaves_the_settings_of_the_target(start, client, home):
    (home / "secret.py").write_text("import gnj\njobs = gnj.GNJ('sqlite:///own.db', token='s3cret', prefix='x_')\n")
    server = start("serve", "--port", "0", "--workers", "secret:jobs", "--database", "sqlite:///other.db")
    url = server.url()
    assert client.post(f"{url}/graphql", json={"query": "{ jobCount }"}).status_code == 401
    assert ask(client, url, "{ jobCount }", {"authorization": "Bearer s3cret"}) == {"jobCount": 0}
    with closing(sqlite3.connect(home / "other.db")) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "x_job" in tables
    assert "gnj_job" not in tables


def test_the_default_lease_is_that_of_plain_acquires(start, client):
    server = start("serve", "--port", "0", "--lease", "120")
    url = server.url()
    create(client, url, type="a")
    claim = ask(client, url, 'mutation { acquireJob(typeList: ["a"]) { startedAt leaseExpiresAt } }')["acquireJob"]
    begin, end = (datetime.fromisoformat(claim[name]) for name in ("startedAt", "leaseExpiresAt"))
    assert (end - begin).total_seconds() == pytest.approx(120, abs=1)


def test_a_token_guards_it_beyond_loopback(start, client):
    server = start("serve", "--host", "0.0.0.0", "--port", "0", GNJ_TOKEN="s3cret")
    port = server.url().rpartition(":")[2]
    url = f"http://127.0.0.1:{port}"
    assert client.post(f"{url}/graphql", json={"query": "{ jobCount }"}).status_code == 401
    wrong = {"authorization": "Bearer wrong"}
    assert client.post(f"{url}/graphql", json={"query": "{ jobCount }"}, headers=wrong).status_code == 401
    assert ask(client, url, "{ jobCount }", {"authorization": "Bearer s3cret"}) == {"jobCount": 0}


def test_a_name_with_several_addresses(start, client):
    url = start("serve", "--host", "localhost", "--port", "0").url()
    assert url.startswith("http://localhost:")
    assert ask(client, url, "{ jobCount }") == {"jobCount": 0}


def test_ipv6(start, client):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6")
    url = start("serve", "--host", "::1", "--port", "0").url()
    assert url.startswith("http://[::1]:")
    assert ask(client, url, "{ jobCount }") == {"jobCount": 0}


def test_an_authenticate_hook_guards_it_beyond_loopback(start, client, home):
    (home / "guarded.py").write_text(
        "import gnj\n"
        "from gnj.api.hooks import Principal\n"
        "who = lambda context: Principal('me') if context.headers.get('x-me') else None\n"
        "jobs = gnj.GNJ('sqlite:///own.db', authenticate=who)\n"
    )
    server = start("serve", "--host", "0.0.0.0", "--port", "0", "--workers", "guarded:jobs")
    url = f"http://127.0.0.1:{server.url().rpartition(':')[2]}"
    assert client.post(f"{url}/graphql", json={"query": "{ jobCount }"}).status_code == 401
    assert ask(client, url, "{ jobCount }", {"x-me": "1"}) == {"jobCount": 0}


def test_insecure_answers_everybody(start, client):
    server = start("serve", "--host", "0.0.0.0", "--port", "0", "--insecure")
    port = server.url().rpartition(":")[2]
    # as a request that a proxy passed on, which the default guard refuses
    asked = ask(
        client, f"http://127.0.0.1:{port}", "{ jobCount }", {"host": "example.org", "x-forwarded-for": "1.2.3.4"}
    )
    assert asked == {"jobCount": 0}


def test_a_head_that_does_not_end_is_cut_off(start):
    url = start("serve", "--port", "0").url()
    with connect(url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n")
        endless = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 1000) for number in range(10_000))
        with pytest.raises(OSError):
            connection.sendall(endless)
    with connect(url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 30_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 431 ")
    with connect(url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 12_000 + b"\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_idle_connections_end_after_15_seconds(start):
    url = start("serve", "--port", "0").url()
    with connect(url) as silent, connect(url) as half:
        half.sendall(b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += half.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200 ")
        half.sendall(b"GET /healthz HT")
        begin = time.monotonic()
        assert silent.recv(1) == b""
        assert half.recv(1) == b""
        assert 13 < time.monotonic() - begin < 17


@pytest.mark.unmigrated
def test_postgresql(gnj_here, start, client, postgresql_database):
    url = postgresql_database()
    done = gnj_here("migrate", "--database", url)
    assert (done.returncode, done.stderr) == (0, "")
    assert " was migrated from no tables to " in done.stdout
    server = start("serve", "--port", "0", GNJ_DATABASE=url)
    assert ask(client, server.url(), "{ jobCount }") == {"jobCount": 0}
    client.close()
    assert server.signal(signal.SIGTERM) < 5
    assert (server.process.returncode, server.errors) == (0, [])
