"""Chromium, visiting a real server: what it shows, and that it asks nobody else for anything."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

import gnj
from tests import databases
from tests.serving import served

WAIT = 15_000
"""Milliseconds for which something is waited for that comes at once on a quiet machine."""

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # no name but the server's address leads anywhere, so that not even a look-up leaves the machine
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@contextlib.contextmanager
def serving(app, **options) -> Iterator[str]:
    """The address of a server of this ASGI application, for as long as the block lasts."""
    with served(app, **{"ws": "websockets-sansio"} | options) as address:
        yield address


class Visit:
    """A page of the browser, and everything it did that it should not have done."""

    def __init__(self, page, context, origin: str) -> None:
        self.page = page
        self.context = context
        self.origin = origin
        self.outside: list[str] = []
        self.wrong: list[str] = []
        self.asked: list[str] = []
        context.route("**/*", self._pass)
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.wrong.append(f"exception: {error}"))
        page.on("dialog", self._asked_back)
        page.on("websocket", lambda socket: self._sent(socket.url))
        page.expose_function("reportViolation", lambda text: self.wrong.append(f"policy: {text}"))
        page.add_init_script("""
            document.addEventListener("securitypolicyviolation", async (event) => {
                await reportViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
                window.violations = (window.violations ?? 0) + 1;
            });
        """)
        # the browser's own list of requests: interception does not see all that it does by itself
        log = context.new_cdp_session(page)
        log.on("Network.requestWillBeSent", lambda event: self._sent(event["request"]["url"]))
        log.on("Network.webSocketCreated", lambda event: self._sent(event["url"]))
        log.send("Network.enable")

    def open(self, path: str):
        """Goes to a page of the server, and waits until GraphiQL is there and knows the schema or that it will not."""
        response = self.page.goto(self.origin + path)
        self.page.wait_for_selector(".graphiql-execute-button", timeout=WAIT)
        return response

    def tab(self, name: str) -> None:
        self.page.locator(".graphiql-tab-button", has_text=name).click()
        self._understood(name)

    def run(self, operation: str | None = None) -> None:
        """Runs the operation of the tab; of several, the one of that name."""
        self.page.locator(".graphiql-execute-button").click()
        if operation is not None:
            self.page.get_by_role("menuitem", name=operation, exact=True).click()

    def ask(self, query: str) -> None:
        """Puts a document into the editor, and runs it."""
        editor = self.page.locator(".graphiql-query-editor .CodeMirror")
        editor.evaluate("(element, text) => element.CodeMirror.setValue(text)", query)
        self._understood(query)
        self.run()

    def write(self, tool: str, text: str) -> None:
        """Puts a text into one of the tools below the editor: Variables or Headers."""
        self.page.get_by_role("button", name=tool, exact=True).click()
        editor = self.page.locator(".graphiql-editor-tool .CodeMirror:visible")
        editor.evaluate("(element, text) => element.CodeMirror.setValue(text)", text)

    def _understood(self, part: str) -> None:
        # GraphiQL parses a document a moment after it was changed, and takes the operation's name from what it parsed
        parsed = """(part) => {
            const editor = document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror;
            const text = editor.getValue();
            return text.includes(part) && editor.documentAST?.loc.source.body === text;
        }"""
        self.page.wait_for_function(parsed, arg=part, timeout=WAIT)

    def response(self) -> str:
        shown = self.page.locator(".result-window .CodeMirror")
        return str(shown.evaluate("(element) => element.CodeMirror.getValue()"))

    def sees(self, text: str) -> None:
        """Waits until the response holds the text."""
        from playwright.sync_api import TimeoutError as NeverCame

        holds = "(text) => document.querySelector('.result-window .CodeMirror').CodeMirror.getValue().includes(text)"
        try:
            self.page.wait_for_function(holds, arg=text, timeout=WAIT)
        except NeverCame:
            raise AssertionError((text, self.response(), self.wrong)) from None

    def expect_wrong(self, *beginnings: str) -> None:
        """That what was wrong until now is just this."""
        found, self.wrong = self.wrong, []
        assert len(found) == len(beginnings), found
        assert all(each.startswith(beginning) for each, beginning in zip(found, beginnings, strict=True)), found

    def _pass(self, route) -> None:
        if self._sent(route.request.url):
            route.continue_()
        else:
            route.abort()

    def _sent(self, url: str) -> bool:
        target = urlsplit(url)
        self.asked.append(url)
        inside = target.scheme == "data" or (
            target.netloc == urlsplit(self.origin).netloc and target.scheme in ("http", "ws")
        )
        if not inside:
            self.outside.append(url)
        return inside

    def _told(self, message) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _asked_back(self, dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture(scope="module")
def chromium():
    """The browser. Of the module, not of the session: Playwright's event loop would be in the way of others' loops."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        databases.unavailable("chromium", "it is not on the PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        databases.unavailable("chromium", "Playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visiting(chromium) -> Iterator[Callable[..., Visit]]:
    """Call it with a server's address for a page of its own. What a visit did wrong fails the test at its end."""
    visits: list[Visit] = []

    def visit(origin: str, **options) -> Visit:
        context = chromium.new_context(viewport={"width": 1400, "height": 900}, **options)
        context.set_default_timeout(WAIT)
        visits.append(Visit(context.new_page(), context, origin))
        return visits[-1]

    yield visit
    for each in visits:
        each.context.close()
    assert [url for each in visits for url in each.outside] == []
    assert [what for each in visits for what in each.wrong] == []


@pytest.fixture
def jobs() -> Iterator[gnj.GNJ]:
    with gnj.GNJ("memory://") as made:
        yield made


@pytest.fixture
def server(jobs) -> Iterator[str]:
    with serving(jobs.asgi_app()) as origin:
        yield origin
