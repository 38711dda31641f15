"""Pages in a real Chromium: drawn, silent, alone, reachable by keyboard, readable in light and dark, on paper."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("playwright")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from orchestrator.report.cost import Price  # noqa: E402
from orchestrator.report.html import page as pages  # noqa: E402
from orchestrator.report.html import render  # noqa: E402
from orchestrator.report.html.changes import ChangePoint, Past  # noqa: E402
from orchestrator.report.html.site import RATE  # noqa: E402
from orchestrator.report.html.values import Page as Report  # noqa: E402
from orchestrator.store import sites  # noqa: E402
from orchestrator.store.runs import RunFolder  # noqa: E402
from tests.report import gpu_run, made  # noqa: E402
from tests.report.html.test_render import hostile_run  # noqa: E402
from tests.test_history_cli import RATES, keep, levelbench, night  # noqa: E402

DRAWN = (
    "[...document.querySelectorAll('.plot')]"
    ".every((p) => p.closest('details:not([open])') || p.classList.contains('drawn'))"
)
PATIENCE_MS = 180_000


@dataclass
class Seen:
    """A page, and whatever it complained of or asked the network for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = os.environ.get("LEVELBENCH_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail("no chromium: apt-get install chromium, or name one in LEVELBENCH_CHROMIUM")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """60 cells with windows as in a whole run, of fewer users."""
    return gpu_run.write(tmp_path_factory.mktemp("browser") / "made-up", length_s=60, users=(2, 4, 8))


@pytest.fixture(scope="session")
def value(run: RunFolder) -> Report:
    return run.page(run.record(), Price(1.8, "EUR"))


@pytest.fixture(scope="session")
def files(run: RunFolder, value: Report, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of page."""
    folder = tmp_path_factory.mktemp("pages")
    first = run.record().cells[0].cell_id
    index = sites.write(
        run.path.parent,
        folder / "site",
        Past((ChangePoint(run.id, first, RATE, "fell by 7 %", "-7 %"),)),
    )
    past = site_of_nights(folder)
    texts = {
        "gpu": render.html(value),
        "cpu": render.html(pages.page(made.run(), {})),
        "hostile": render.html(pages.page(hostile_run(), {})),
        "open": render.html(pages.page(made.open_run(), {})),
    }
    found = {
        "index": index,
        "series": index.with_name("series.html"),
        "past": past,
        "past-series": past.with_name("series.html"),
    }
    for name, text in texts.items():
        found[name] = folder / f"{name}.html"
        found[name].write_text(text, "utf-8")
    return found


def site_of_nights(folder: Path) -> Path:
    """Nine nights of which the last was slower, through the command itself."""
    for number, rate in enumerate((*RATES, 840.0), 1):
        keep(folder / "nights", night(number, rate), number)
    code, _, err = levelbench(folder / "nights", "site", "--out", str(folder / "past"))
    assert 0 == code, err
    return folder / "past" / "index.html"


def opened(browser: Browser, path: Path, *, scheme: str = "light", width: int = 1440) -> Seen:
    """A page when all that is visible is drawn, with the first time line unfolded."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light"
    )
    seen = Seen(context.new_page())
    seen.page.on("console", lambda message: seen.complaints.append(f"{message.type}: {message.text}"))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.goto(path.as_uri())
    seen.page.evaluate(
        "for (const d of [...document.querySelectorAll('.timeline')].slice(0, 1)) d.open = true"
    )
    seen.page.wait_for_function(DRAWN, timeout=PATIENCE_MS)
    return seen


Visit = Callable[..., Seen]


@pytest.fixture(scope="session")
def visit(browser: Browser, files: dict[str, Path]) -> Visit:
    """A page that is only looked at: opened once for all tests."""

    @cache
    def visited(name: str, scheme: str = "light", width: int = 1440) -> Seen:
        return opened(browser, files[name], scheme=scheme, width=width)

    return visited


@pytest.mark.parametrize("name", ["gpu", "cpu", "open", "hostile", "index", "series", "past", "past-series"])
def test_the_console_is_silent_and_no_request_leaves_the_page(visit: Visit, name: str) -> None:
    """The page itself is the only thing that is ever asked for."""
    seen = visit(name)

    assert [] == seen.complaints
    assert 1 == len([url for url in seen.requests if not url.startswith("data:")])


def test_hostile_text_does_nothing(visit: Visit) -> None:
    """What an engine's log or a model's name says is shown and never run."""
    found = visit("hostile")

    assert "owned" not in found.page.title().replace(gpu_run.HOSTILE, "")
    assert 0 == found.page.locator("img").count()
    assert found.page.get_by_text("<img src=x onerror").count()


def test_an_injected_script_is_refused_by_the_pages_policy(browser: Browser, files: dict[str, Path]) -> None:
    """A second wall: even if text got out of its place, it would not run."""
    found = opened(browser, files["cpu"])
    ran = found.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = true';"
        " document.body.append(s); return window.ran === true }"
    )

    assert not ran
    assert any("Content Security Policy" in text for text in found.complaints)
    found.page.context.close()


def test_every_row_is_a_mark_in_the_chart(visit: Visit, value: Report) -> None:
    """Counted in the SVG: a point per cell, a bar per window and panel, a mark per suspect figure."""
    found = visit("gpu")
    charts = {c.id: c for c in pages.charts_of(value.works)}
    for work in value.works:
        for kind in ("rate", "ttft", "gpu", "energy"):
            chart = charts[f"{work.anchor}-{kind}"]
            assert len(chart.rows) == drawn(found, chart.id, ".mark-symbol.role-mark path")
        rate = charts[f"{work.anchor}-rate"]
        suspects = [row["mark"] for row in rate.rows if row["mark"]]
        assert suspects == found.page.locator(f"#{rate.id} svg .mark-text.role-mark text").all_text_contents()
    line = value.works[0].timelines[0].chart
    bars = drawn(found, line.id, ".mark-rect.role-mark path")
    shaded = sum(row["part"] != "steady" for row in line.rows) * len(line.spec["vconcat"])
    assert len(line.rows) * len(line.spec["vconcat"]) == bars - shaded


def drawn(seen: Seen, chart: str, what: str) -> int:
    return seen.page.locator(f"#{chart} svg {what}").count()


def test_charts_are_drawn_when_they_come_into_view(visit: Visit) -> None:
    """A folded time line costs nothing until somebody opens it."""
    line = visit("gpu").page.locator(".timeline").nth(2)

    assert 0 == line.locator("svg").count()
    line.locator("summary").click()
    line.locator("svg").wait_for(timeout=PATIENCE_MS)
    line.locator("summary").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["gpu", "cpu", "open", "past", "past-series"])
def test_axe_finds_nothing(visit: Visit, name: str, scheme: str) -> None:
    """Contrast, roles, names, landmarks, order of headings: every rule of axe-core, in both themes."""
    page = visit(name, scheme).page
    whole = Axe().run(page, context={"exclude": [[".plot svg"]]})
    charts = Axe().run(page, context={"include": [[".chart:has(svg)"]]}) if name == "cpu" else whole

    found = [*whole.response["violations"], *charts.response["violations"]]
    assert [] == [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found]


def test_everything_is_reachable_by_keyboard(browser: Browser, files: dict[str, Path]) -> None:
    """Skip link first; every fold, table and the theme's button take the focus, and it can be seen."""
    found = opened(browser, files["cpu"])
    found.page.keyboard.press("Tab")
    assert "Skip to the answer" == found.page.evaluate("document.activeElement.textContent")
    wanted = found.page.evaluate(
        "[...document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]')]"
        ".filter((e) => e.checkVisibility()).length"
    )
    reached = set()
    for _ in range(wanted + 5):
        reached.add(
            found.page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
        found.page.keyboard.press("Tab")
    assert wanted <= len(reached)
    fold = found.page.locator(".timeline").nth(1)
    fold.locator("summary").focus()
    assert "none" != fold.locator("summary").evaluate("e => getComputedStyle(e).outlineStyle")
    found.page.keyboard.press("Enter")
    fold.locator("svg").wait_for(timeout=PATIENCE_MS)
    found.page.context.close()


def test_dark_follows_the_system_and_the_button(browser: Browser, files: dict[str, Path]) -> None:
    """Charts too, without being drawn again: they name the page's colours."""
    ground = "getComputedStyle(document.body).backgroundColor"
    label = "getComputedStyle(document.querySelector('.plot .role-axis-label text')).fill"
    found = opened(browser, files["cpu"], scheme="dark")
    dark = found.page.evaluate(ground), found.page.evaluate(label)
    found.page.locator("#theme").click()
    light = found.page.evaluate(ground), found.page.evaluate(label)

    assert "theme: light" == found.page.locator("#theme").inner_text()
    assert ("rgb(20, 23, 27)", "rgb(255, 255, 255)") == (dark[0], light[0])
    assert dark[1] != light[1]
    found.page.context.close()


def test_paper_is_light_whole_and_not_cut(visit: Visit, tmp_path: Path) -> None:
    """From the dark theme; no scrolling region hides a column, no chart is missing."""
    page = visit("gpu", "dark").page
    page.emulate_media(media="print")

    assert "rgb(255, 255, 255)" == page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert "none" == page.locator(".top").evaluate("e => getComputedStyle(e).display")
    assert "visible" == page.locator(".scroll").first.evaluate("e => getComputedStyle(e).overflowX")
    assert page.evaluate(DRAWN)
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
    page.emulate_media(media="screen")


@pytest.mark.parametrize("name", ["gpu", "cpu", "open", "past", "past-series"])
def test_a_telephone_needs_no_sideways_scrolling(visit: Visit, name: str) -> None:
    """Wide tables scroll within themselves; charts fit."""
    found = visit(name, width=390)

    assert 390 == found.page.evaluate("document.documentElement.scrollWidth")
    widest = found.page.evaluate(
        "Math.max(0, ...[...document.querySelectorAll('.plot svg')].map((s) => s.clientWidth))"
    )
    assert widest <= 390


def test_sixty_cells_open_at_once(browser: Browser, files: dict[str, Path]) -> None:
    """The answer is painted before any chart is drawn. The limit is ten times what was measured."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(files["gpu"].as_uri(), wait_until="commit")
    page.locator(".matrix").first.wait_for()
    page.wait_for_load_state()
    painted_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")

    assert painted_ms < 4_000
    context.close()


def test_the_site_leads_from_its_matrix_to_a_runs_page_and_works_from_files(
    browser: Browser, files: dict[str, Path]
) -> None:
    found = opened(browser, files["index"])
    found.page.locator("a.day").first.click()
    found.page.wait_for_load_state()

    assert found.page.title().endswith("levelbench")
    assert 4 == found.page.locator(".ranking").count()
    found.page.context.close()


def test_what_got_worse_leads_to_its_chart_where_it_is_marked(visit: Visit) -> None:
    """From the first page, by the history's own judgement of the stored runs."""
    link = visit("past").page.locator(".news li a").first
    target = (link.get_attribute("href") or "").partition("#")[2]
    series = visit("past-series").page

    assert "▼ worse" == visit("past").page.locator(".news .turn").first.inner_text()
    assert 1 == series.locator(f"#{target}").count()
    assert "worse -16.0 %" in series.locator(".plot svg .mark-text text").all_text_contents()
    assert "worse: token rate 1,000 → 840 tok/s" in series.locator(".changes li").first.inner_text()


def test_an_open_loop_is_drawn_against_its_rates(visit: Visit) -> None:
    """In the charts' axes and over the first table; users are nowhere."""
    page = visit("open").page

    assert {"rate (1/s)"} <= set(page.locator(".plot svg .role-axis-title text").all_text_contents())
    assert ["2 requests/s", "8 requests/s"] == page.locator("th.load").all_inner_texts()
    assert "1,024" not in page.locator("#answer").inner_text()


def test_a_change_point_is_drawn(visit: Visit) -> None:
    """As a dashed rule with its words, not by colour."""
    found = visit("series")
    texts = found.page.locator(".plot svg .mark-text text").all_text_contents()

    assert "-7 %" in texts
    assert found.page.locator(".changes li").first.inner_text().endswith("fell by 7 %")
