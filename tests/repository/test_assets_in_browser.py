"""The bundles do their work in a browser, under the policy that the console's pages have."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

VENDOR = Path(__file__).parents[2] / "src" / "herz" / "server" / "console" / "static" / "vendor"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-n0'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
TYPES = {".js": "text/javascript", ".css": "text/css"}
HEAD = """<!doctype html><html lang="en"><title>bundles</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/charts.css">
<script src="/htmx.js"></script><script src="/idiomorph.js"></script>"""
OWN = {
    "/": HEAD
    + """<style nonce="n0">#graph { position: relative; width: 200px; height: 100px }</style>
<script type="module" src="/use.js"></script>
<div id="editor"></div><div id="sides"></div><div id="one"></div><div id="chart"></div><div id="graph"></div>
<p id="morphed">before</p>""",
    "/use.js": """
const refused = [];
document.addEventListener("securitypolicyviolation", (event) => {
  refused.push(`${event.violatedDirective} ${event.sample}`);
});
const { default: uPlot } = await import("/charts.js");
const { default: cytoscape } = await import("/graph.js");
const code = await import("/editor.js");
const at = (id) => document.getElementById(id);
const before = "a: 1\\nb:\\n  - x\\n";
const common = [code.EditorView.cspNonce.of("n0"), code.basicSetup];
const wrong = [{ from: 0, to: 1, severity: "error", message: "not a number" }];
const editor = new code.EditorView({
  parent: at("editor"), doc: before,
  extensions: [common, code.yaml(), code.lintGutter(), code.keymap.of([code.indentWithTab])],
});
editor.dispatch(code.setDiagnostics(editor.state, wrong));
code.openLintPanel(editor); code.openSearchPanel(editor); code.foldAll(editor);
new code.MergeView({
  parent: at("sides"), a: { doc: before, extensions: common }, b: { doc: before + "c: 2\\n", extensions: common },
});
new code.EditorView({
  parent: at("one"), doc: '{"a": 2}',
  extensions: [common, code.json(), code.unifiedMergeView({ original: '{"a": 1}' })],
});
new uPlot({ width: 200, height: 100, series: [{}, { stroke: "red" }] }, [[1, 2, 3], [1, 4, 9]], at("chart"));
const graph = cytoscape({
  container: at("graph"), layout: { name: "breadthfirst" },
  elements: [{ data: { id: "a" } }, { data: { id: "b" } }, { data: { source: "a", target: "b" } }],
});
const after = document.createElement("p");
after.id = "morphed"; after.textContent = "after";
Idiomorph.morph(at("morphed"), after);
// Two frames later everything has been drawn, and what the policy refuses has been told.
await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
const count = (selector) => document.querySelectorAll(selector).length;
document.body.dataset.seen = JSON.stringify({
  refused,
  styled: getComputedStyle(document.querySelector("#editor .cm-content")).whiteSpace,
  markers: count("#editor .cm-lint-marker-error"),
  folded: count("#editor .cm-foldPlaceholder"),
  panels: count("#editor .cm-search") + count("#editor .cm-panel-lint"),
  changed: [count("#sides .cm-merge-b .cm-changedLine"), count("#one .cm-deletedChunk")],
  charted: count("#chart canvas"),
  drawn: [graph.nodes().length, graph.edges().length, count("#graph canvas") > 0],
  morphed: at("morphed").textContent,
});
""",
    "/exchange": HEAD
    + """<button hx-get="/part" hx-target="#part" hx-push-url="/exchange?part=1">Ask</button><div id="part"></div>""",
    "/part": """<b>answered</b><script src="/use.js"></script>""",
}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.partition("?")[0]
        file = VENDOR / path.removeprefix("/")
        content = OWN[path].encode() if path in OWN else file.read_bytes() if file.is_file() else b""
        self.send_response(200 if content else 404)
        self.send_header("content-type", TYPES.get(file.suffix, "text/html; charset=utf-8"))
        self.send_header("content-security-policy", POLICY)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object):
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium: tools/servers installs it")
    with sync_playwright() as play, play.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser:
        yield browser.new_page()


@pytest.mark.slow
def test_editor_comparison_chart_graph_and_morphing_work_under_the_pages_policy(origin: str, page: Page):
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("requestfailed", lambda request: told.append(request.url))
    page.goto(f"{origin}/")
    page.wait_for_selector("body[data-seen]", state="attached", timeout=20_000)
    seen = json.loads(page.get_attribute("body", "data-seen") or "")
    assert seen == {
        "refused": [],
        "styled": "pre",
        "markers": 1,
        "folded": 1,
        "panels": 2,
        "changed": [1, 1],
        "charted": 1,
        "drawn": [2, 1, True],
        "morphed": "after",
    }
    assert told == []


@pytest.mark.slow
def test_htmx_exchanges_a_part_without_its_scripts_and_stores_no_page(origin: str, page: Page):
    page.goto(f"{origin}/exchange")
    page.get_by_role("button", name="Ask").click()
    page.wait_for_url("**/exchange?part=1", timeout=20_000)
    page.wait_for_selector("#part b", timeout=20_000)
    assert page.locator("#part script").count() == 0
    assert "button" not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
