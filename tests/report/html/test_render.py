"""One file that needs nothing else, in which foreign text stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from orchestrator.report.html import page as pages
from orchestrator.report.html import render
from orchestrator.report.records import RunRecord, State, Stored
from tests.report import gpu_run, made

HOSTILE = gpu_run.HOSTILE + "</style></pre>{{ 7*7 }}\u2028"


class Elements(HTMLParser):
    """What a browser would make of a page: elements, scripts, and whatever leads elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.tags: set[str] = set()
        self._inside: dict[str, str | None] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.handlers += [name for name in found if name.startswith("on")]
        self.links += [str(found[name]) for name in ("src", "href", "action", "srcset") if name in found]
        self._inside = found if tag == "script" else None

    def handle_data(self, data: str) -> None:
        if self._inside is not None:
            self.scripts.append((self._inside, data))
            self._inside = None


def hostile_run() -> RunRecord:
    """Every text that comes from outside tries to get out of its place."""
    one = made.result(
        made.cell(backend=HOSTILE, model=HOSTILE), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40)
    )
    assert one.provenance
    known = one.provenance.model_copy(
        update={"argv": (HOSTILE,), "env": {HOSTILE: HOSTILE}, "effective": {HOSTILE: HOSTILE}}
    )
    failed = made.failed(made.cell("vllm", 4))
    assert failed.failure
    failure = failed.failure.model_copy(update={"log_tail": HOSTILE, "message": HOSTILE, "hint": HOSTILE})
    cells = (
        made.stored(one.model_copy(update={"provenance": known, "notes": (HOSTILE,)})),
        made.stored(failed.model_copy(update={"failure": failure})),
        Stored(HOSTILE, State.DAMAGED, reason=HOSTILE),
    )
    return RunRecord(id=HOSTILE, created_at="2026-11-23T04:30:00.000+00:00", cells=cells)


@pytest.fixture(scope="module", params=["golden", "hostile"])
def text(request: pytest.FixtureRequest) -> str:
    run = made.run() if request.param == "golden" else hostile_run()
    return render.html(pages.page(run, {}))


def test_nothing_leads_out_of_the_page(text: str) -> None:
    """No address but anchors within it."""
    elements = Elements(text)

    assert {"data:,"} == {link for link in elements.links if not link.startswith("#")}
    assert elements.tags.isdisjoint({"img", "iframe", "object", "embed", "form"})
    assert [] == elements.handlers


def test_only_our_scripts_are_there_and_the_policy_names_them(text: str) -> None:
    """By hash: a script that got in by any other way would not run."""
    elements = Elements(text)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    code = [body for attributes, body in elements.scripts if attributes.get("type") != "application/json"]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(c.encode()).digest()).decode()}'" for c in code]

    assert [render.library().text, render.asset("page.js")] == code
    assert all(h in policy[1] for h in hashes)
    assert "default-src 'none'" in policy[1]
    assert "'unsafe-inline'" not in policy[1].split("script-src")[1]


def test_hostile_text_is_shown_as_text() -> None:
    """Escaped in HTML, and inside the charts' data."""
    text = render.html(pages.page(hostile_run(), {}))

    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "{{ 7*7 }}" in text
    (data,) = (body for attributes, body in Elements(text).scripts if attributes.get("id") == "charts")
    assert "<" not in data
    assert HOSTILE in {row["engine"].split(" 1.0")[0] for row in json.loads(data)["charts"]["w1-rate"][2]}


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (
            "4,012?",
            '<span class="figure suspect">4,012<abbr class="mark suspect" title="suspect">?</abbr></span>',
        ),
        ("12!", '<span class="figure invalid">12<abbr class="mark invalid" title="invalid">!</abbr></span>'),
        ("12", '<span class="figure">12</span>'),
        ("-", '<span class="figure none">-</span>'),
        ("n<130", '<span class="figure none">n&lt;130</span>'),
    ],
)
def test_a_mark_is_a_word_for_who_cannot_see_it(figure: str, expected: str) -> None:
    assert expected == str(render.figure(figure))


def test_the_theme_uses_colours_of_the_page_alone() -> None:
    """So that charts follow light, dark and paper."""
    known = set(re.findall(r"--([a-z0-9]+):", render.asset("style.css")))

    assert set(re.findall(r"var\(--(\w+)\)", render.asset("theme.json"))) <= known
    assert [] == re.findall(r"#[0-9a-f]{3,6}\b", render.asset("theme.json"))
