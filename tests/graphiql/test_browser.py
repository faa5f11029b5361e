"""GraphiQL as somebody uses it who has nothing but a browser and the server."""

from __future__ import annotations

import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

import gnj_starlette
from gnj import GNJ
from tests.graphiql.conftest import serving

TOKEN = "gnj_secret-of-the-tests"


def test_it_opens_runs_a_query_and_shows_the_docs(jobs, server, visiting):
    visit = visiting(server)
    assert visit.open("/graphql").status == 200
    assert visit.page.title() == "gnj"
    jobs.enqueue("mail")
    visit.run()
    visit.sees('"queued": 1')
    visit.page.get_by_label("Show Documentation Explorer").click()
    docs = visit.page.locator(".graphiql-doc-explorer")
    docs.get_by_role("link", name="Mutation", exact=True).click()
    docs.get_by_text("jobCreate", exact=True).wait_for()


def test_examples_create_claim_and_finish_a_job(jobs, server, visiting):
    visit = visiting(server)
    visit.open("/graphql")
    visit.tab("CreateJob")
    visit.run()
    visit.sees('"createdAt"')
    assert jobs.get(1).input == {"to": "ada@example.com"}
    visit.tab("Acquire")
    visit.run("Acquire")
    visit.sees('"attempt": 1')
    visit.run("Finish")
    visit.sees('"successful"')
    assert (jobs.get(1).status, jobs.get(1).output) == ("successful", {"sent": True})
    visit.tab("ListJobs")
    visit.run()
    visit.sees('"jobCount": 1')


def stripping(app, prefix):
    """An application behind a proxy that passes on what is below `prefix`, and not the prefix."""

    async def proxy(scope, receive, send):
        if scope["type"] != "lifespan":
            path = scope["path"].removeprefix(prefix)
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    return proxy


@pytest.mark.parametrize(
    "prefix, path, proxied",
    [
        pytest.param("/", "/graphql/", "", marks=pytest.mark.slow),
        ("/a/b", "/graphql", ""),
        ("/a/b", "/graphql/", "/behind"),
        pytest.param("/", "/graphql", "/behind", marks=pytest.mark.slow),
    ],
)
def test_it_works_wherever_the_api_is_mounted(jobs, visiting, prefix, path, proxied):
    host = Starlette()
    gnj_starlette.mount(host, jobs, prefix)
    with serving(stripping(host, proxied)) as origin:
        visit = visiting(origin)
        below = proxied + prefix.rstrip("/")
        visit.open(below + path)
        visit.run()
        visit.sees('"queued": 0')
        visit.ask("subscription { jobCreated { type } }")
        visit.page.wait_for_function("() => document.querySelector('[aria-label^=Stop]')")
        assert {httpx.URL(url).path.partition("/graphql")[0] for url in visit.asked if not url.startswith("data:")} == {
            below
        }
        assert f"ws{origin.removeprefix('http')}{below}/graphql" in visit.asked


@pytest.mark.slow
def test_it_keeps_tabs_but_no_headers_and_no_other_mounts_tabs(jobs, visiting):
    host = Starlette()
    gnj_starlette.mount(host, jobs, "/one")
    gnj_starlette.mount(host, jobs, "/two")
    with serving(host) as origin:
        visit = visiting(origin)
        visit.open("/one/graphql")
        visit.write("Headers", json.dumps({"X-Api-Key": TOKEN}))
        visit.ask("query Mine { jobCount }")
        visit.sees('"jobCount": 0')
        visit.page.get_by_label("Show History").click()
        visit.page.locator(".graphiql-history-item").get_by_text("Mine", exact=True).wait_for()
        visit.page.wait_for_function(
            "() => localStorage.getItem('gnj:/one/graphql:graphiql:tabState')?.includes('Mine')"
        )
        assert TOKEN not in visit.page.evaluate("() => JSON.stringify(localStorage)")
        visit.open("/one/graphql/")
        visit.page.locator(".graphiql-tab-button", has_text="Mine").wait_for()
        visit.open("/two/graphql")
        visit.page.locator(".graphiql-tab-button", has_text="Monitoring").wait_for()
        assert visit.page.locator(".graphiql-tab-button", has_text="Mine").count() == 0


def test_a_token_goes_from_the_headers_to_the_api(visiting):
    with GNJ("memory://", token=TOKEN, graphiql=True) as jobs, serving(jobs.asgi_app()) as origin:
        visit = visiting(origin)
        visit.open("/graphql")
        visit.run()
        visit.sees("UNAUTHENTICATED")
        visit.expect_wrong("console: Failed to load resource: the server responded with a status of 401")
        visit.write("Headers", json.dumps({"authorization": f"Bearer {TOKEN}"}))
        visit.run()
        visit.sees('"queued": 0')


@pytest.mark.slow
def test_it_is_dark_where_the_system_is(server, visiting):
    def brightness(scheme):
        visit = visiting(server, color_scheme=scheme)
        visit.open("/graphql")
        color = visit.page.locator(".graphiql-container").evaluate("(e) => getComputedStyle(e).backgroundColor")
        return sum(int(part) for part in color[color.index("(") + 1 : -1].split(",")[:3])

    assert brightness("dark") < 200
    assert brightness("light") > 600


@pytest.mark.slow
def test_menus_and_dialogs_keep_the_policy(server, visiting):
    visit = visiting(server)
    visit.open("/graphql")
    visit.page.get_by_label("Open settings dialog").click()
    visit.page.get_by_role("button", name="Dark").click()
    visit.page.keyboard.press("Escape")
    visit.page.get_by_label("Open short keys dialog").click()
    visit.page.get_by_role("dialog").wait_for()
    visit.page.keyboard.press("Escape")
    visit.page.get_by_label("Prettify query").hover()
    visit.page.get_by_role("tooltip").first.wait_for()
    editor = visit.page.locator(".graphiql-query-editor .CodeMirror")
    editor.click()
    editor.evaluate("(element) => element.CodeMirror.setValue('{ job { ')")
    visit.page.keyboard.press("Control+End")
    visit.page.keyboard.press("Control+Space")
    visit.page.locator(".CodeMirror-hints").get_by_text("jobUniqueId").wait_for()
    visit.page.keyboard.press("Escape")


HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1) autofocus onfocus=alert(1)>x</a>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "<style>@import 'http://outside.test/x.css'</style>",
    "<link rel=stylesheet href=http://outside.test/x.css>",
    "<meta http-equiv=refresh content='0;url=http://outside.test'>",
    "<base href=http://outside.test/>",
    "<form action=http://outside.test><button autofocus onfocus=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "`${alert(1)}`",
    "{{constructor.constructor('alert(1)')()}}",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "http://outside.test/picture.png",
    "![x](http://outside.test/picture.png)",
]


@pytest.mark.slow
def test_what_jobs_hold_is_text(jobs, server, visiting):
    assert len(HOSTILE) == 30
    for text in HOSTILE:
        job = jobs.enqueue(text, {text: text}, name=text)
        jobs.queue.succeed(jobs.queue.acquire([text], worker_id=text), output={text: text})
        assert job.type == text
    visit = visiting(server)
    visit.open("/graphql")
    visit.ask("{ job(limit: 30) { type name input output workerId } }")
    visit.sees(json.dumps(HOSTILE[-1]))
    shown = json.loads(visit.response())["data"]["job"]
    assert sorted(job["name"] for job in shown) == sorted(HOSTILE)
    # resting on what looks like the address of an image must not fetch it
    visit.ask('{ job(where: {name: {startsWith: "http"}}) { name } }')
    visit.page.wait_for_function(
        "() => document.querySelector('.result-window .CodeMirror').CodeMirror.getValue().length < 200"
    )
    visit.page.locator(".result-window .cm-string", has_text="outside.test").hover()
    visit.page.wait_for_timeout(700)  # GraphiQL waits for the pointer to rest half a second
    assert visit.page.locator(".result-window img, .CodeMirror-info img").count() == 0


def test_a_request_that_leaves_is_noticed(jobs, visiting):
    page = (
        '<!doctype html><link rel="icon" href="data:,"><img src="http://outside.test/x.png"><script>alert(1)</script>'
    )
    host = Starlette(routes=[Route("/", lambda request: HTMLResponse(page))])
    gnj_starlette.mount(host, jobs, "/")
    with serving(host) as origin:
        visit = visiting(origin)
        visit.page.goto(origin)
        assert set(visit.outside) == {"http://outside.test/x.png"}
        assert "dialog: 1" in visit.wrong
        visit.outside.clear()
        visit.wrong.clear()
        visit.open("/graphql")
        visit.page.evaluate("() => { new Image().src = 'http://outside.test/x.png' }")
        visit.page.wait_for_function("() => window.violations > 0")
        assert any(each.startswith("policy: img-src http://outside.test/x.png") for each in visit.wrong)
        visit.outside.clear()
        visit.wrong.clear()


def create_until_seen(visit, **headers):
    """Creates jobs by HTTP until the page shows one: a server does not say when a subscription has begun."""
    body = {"query": 'mutation { jobCreate(job: {type: "mail"}) { id } }'}
    for _ in range(30):
        httpx.post(f"{visit.origin}/graphql", json=body, headers=headers).raise_for_status()
        visit.page.wait_for_timeout(100)
        if "jobCreated" in visit.response():
            break
    return json.loads(visit.response())


def test_a_subscription_delivers_what_happens_by_http(jobs, server, visiting):
    visit = visiting(server)
    visit.open("/graphql")
    with visit.page.expect_websocket() as opened:
        visit.ask("subscription { jobCreated { id type } }")
    job = create_until_seen(visit)["data"]["jobCreated"]
    assert job["type"] == jobs.get(job["id"]).type == "mail"
    with opened.value.expect_event("close"):
        visit.page.get_by_label("Stop query (Ctrl-Enter)").click()
    assert f"ws{server.removeprefix('http')}/graphql" in visit.asked


def test_a_subscription_carries_the_token(visiting):
    with GNJ("memory://", token=TOKEN, graphiql=True) as jobs, serving(jobs.asgi_app()) as origin:
        visit = visiting(origin)
        visit.open("/graphql/")
        visit.ask("subscription { jobCreated { id type } }")
        visit.sees("4403")
        visit.write("Headers", json.dumps({"authorization": f"Bearer {TOKEN}"}))
        visit.run()
        assert create_until_seen(visit, authorization=f"Bearer {TOKEN}")["data"]["jobCreated"]["type"] == "mail"
