"""A page's value -> one HTML file that needs nothing else: styles, charts' library and data are inside.

Everything that a run stored is foreign text: the template escapes it, the data cannot end its script element, and
the page's own policy lets only the scripts run that are named by their hash and no request leave the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from orchestrator.report import headline, units
from orchestrator.report.html.deck import Deck, deck
from orchestrator.report.html.site import Site
from orchestrator.report.html.values import Page

VEGA_LITE = "v6.4"
FIGURE_MARKS = {"?": "suspect", "!": "invalid"}
_FILES = resources.files("orchestrator.report.html")


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the hash by which the page's policy knows it."""

    text: str

    @property
    def source(self) -> str:
        digest = hashlib.sha256(self.text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"


def html(page: Page) -> str:
    """The whole file."""
    return whole("report.html.j2", page.deck, page=page)


def site_index(site: Site) -> str:
    """The site's first page; it draws nothing."""
    return whole("site-index.html.j2", deck(()), site=site)


def site_series(site: Site) -> str:
    """Every series over time."""
    return whole("site-series.html.j2", site.deck, site=site)


def whole(template: str, charts: Deck, **values: Any) -> str:
    """Any page of ours, with the charts that it draws."""
    drawn = bool(charts.charts)
    scripts = [*([library()] if drawn else []), Script(asset("page.js"))]
    return (
        _environment()
        .get_template(template)
        .render(
            style=asset("style.css"),
            scripts=[script.text for script in scripts],
            sources=" ".join(script.source for script in scripts),
            data=embedded({**asdict(charts), "theme": theme()}),
            legend=headline.LEGEND,
            **values,
        )
    )


@cache
def library() -> Script:
    """Vega, Vega-Lite and vega-embed as one script; it comes with vl-convert, so that nothing is fetched."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return Script(bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


@cache
def theme() -> dict[str, Any]:
    """Vega-Lite's configuration; its colours are the variables of style.css."""
    found: dict[str, Any] = json.loads(asset("theme.json"))
    return found


def asset(name: str) -> str:
    return _FILES.joinpath(name).read_text("utf-8")


def embedded(value: Any) -> str:
    """JSON that stays JSON inside a script element, whatever its texts hold."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def figure(text: str) -> Markup:
    """A figure whose mark is a word for those who cannot see it: `4,012?` is read as `4,012, suspect`."""
    if text[-1:] in FIGURE_MARKS and len(text) > 1:
        word = FIGURE_MARKS[text[-1]]
        mark = Markup('<abbr class="mark {0}" title="{0}">{1}</abbr>').format(word, text[-1])
        return Markup('<span class="{}">{}{}</span>').format(f"figure {word}", text[:-1], mark)
    return Markup('<span class="{}">{}</span>').format("figure none" if _is_nothing(text) else "figure", text)


def _is_nothing(text: str) -> bool:
    return text == units.NOTHING or text.startswith("n<")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("orchestrator.report.html", "."),
        autoescape=select_autoescape(enabled_extensions=("j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": figure,
        "size": units.size,
        "pairs": lambda values: " ".join(f"{name}={value}" for name, value in sorted(values.items())),
    }
    return environment
