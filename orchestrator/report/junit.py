"""A run as JUnit XML, for whatever shows test results: a test case for each cell, and one for each judged series.

A failed or invalid cell and a regression are failures, a damaged cell is an error; what was waived, left out or not
finished is skipped. Valid against Jenkins' schema (junit-10.xsd) and Ant's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from xml.etree import ElementTree as ET

from orchestrator.domain.series import Trend
from orchestrator.report import history
from orchestrator.report.summary import Case, Ending, Summary

# What XML 1.0 cannot hold, however it is written: an engine's log may have any of it.
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KINDS = {
    Ending.FAILED: "failure",
    Ending.INVALID: "failure",
    Ending.DAMAGED: "error",
    Ending.UNFINISHED: "skipped",
    Ending.WAIVED: "skipped",
    Ending.LEFT_OUT: "skipped",
}


def xml(summary: Summary) -> str:
    """The whole document."""
    root = ET.Element("testsuites")
    suites = [("cells", [_cell(case) for case in summary.cases])]
    if summary.judged:
        suites.append(("history", [_judged(summary, i) for i in range(len(summary.judged))]))
    for number, (name, cases) in enumerate(suites):
        root.append(_suite(summary, f"levelbench.{name}", number, cases))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(summary: Summary, name: str, number: int, cases: Sequence[ET.Element]) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=name,
        package="levelbench",
        id=f"{number}",
        hostname="localhost",  # a result carries no host name
        timestamp=_timestamp(summary.created_at),
        tests=f"{len(cases)}",
        failures=f"{_with(cases, 'failure')}",
        errors=f"{_with(cases, 'error')}",
        skipped=f"{_with(cases, 'skipped')}",
        time=f"{sum(float(case.attrib['time']) for case in cases):.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    ET.SubElement(properties, "property", name="run", value=_clean(summary.run))
    suite.extend(cases)
    ET.SubElement(suite, "system-out")
    ET.SubElement(suite, "system-err")
    return suite


def _cell(case: Case) -> ET.Element:
    found = ET.Element(
        "testcase",
        classname=f"levelbench.{_clean(case.group)}",
        name=_clean(case.cell),
        time=f"{case.seconds:.3f}",
    )
    kind = _KINDS.get(case.ending)
    if kind is not None:
        _child(found, kind, case.kind or case.ending.value, case.text, case.log_tail)
    return found


def _judged(summary: Summary, number: int) -> ET.Element:
    one = summary.judged[number]
    found = ET.Element(
        "testcase",
        classname=f"levelbench.history.{_clean(one.newest.group)}",
        name=_clean(one.newest.cell),
        time="0.000",
    )
    if one in summary.regressions:
        (text,) = history.findings([one], summary.known)
        _child(found, "failure", one.trend.value, text, "")
    elif one.trend in (Trend.NOT_ENOUGH, Trend.NOT_COMPARABLE):
        _child(found, "skipped", one.trend.value, history.verdict(one), "")
    return found


def _child(case: ET.Element, kind: str, of: str, message: str, text: str) -> None:
    """Ant's schema lets `skipped` have a message alone."""
    attributes = {"message": _clean(message)} | ({} if kind == "skipped" else {"type": _clean(of)})
    ET.SubElement(case, kind, attributes).text = _clean(text or message)


def _with(cases: Sequence[ET.Element], kind: str) -> int:
    return sum(case.find(kind) is not None for case in cases)


def _timestamp(created_at: str) -> str:
    """As the schemas have it: seconds, no zone."""
    return (
        datetime.fromisoformat(created_at.replace("Z", "+00:00"))
        .replace(tzinfo=None)
        .isoformat("T", "seconds")
    )


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
