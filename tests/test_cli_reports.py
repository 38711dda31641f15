"""`levelbench report --format` and `levelbench site`: from stored records alone, to where they were asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from orchestrator.cli import app
from orchestrator.errors import RequestError
from orchestrator.store.runs import RunFolder
from tests.report import gpu_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run in a folder of runs of its own."""
    return gpu_run.write(tmp_path_factory.mktemp("runs") / "20240601-made-up", length_s=25, users=(4,))


def run(folder: RunFolder, *words: str) -> Result:
    return CliRunner().invoke(app, ["--runs", str(folder.path.parent), *words])


def report(folder: RunFolder, *words: str) -> str:
    """What it printed last."""
    outcome = run(folder, "report", folder.id, *words)
    assert 0 == outcome.exit_code, outcome.output
    return outcome.stdout.splitlines()[-1]


def test_bmf_lies_in_the_run_unless_told_otherwise(folder: RunFolder, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere.json"

    assert str(folder.path / "results.bmf.json") == report(folder, "--format", "bmf")
    assert str(there) == report(folder, "--format", "bmf", "--out", str(there))
    assert json.loads(there.read_text()) == json.loads((folder.path / "results.bmf.json").read_text())


def test_prometheus_text_goes_where_a_collector_looks(folder: RunFolder, tmp_path: Path) -> None:
    """As one whole file, which its own parser reads."""
    report(folder, "--format", "prometheus", "--out", str(tmp_path / "levelbench.prom"))

    found = [f.name for f in text_string_to_metric_families((tmp_path / "levelbench.prom").read_text())]
    assert "levelbench_joules_per_token" in found
    assert ["levelbench.prom"] == [p.name for p in tmp_path.iterdir()]


@pytest.mark.parametrize(("form", "head"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_every_chart_becomes_a_picture(folder: RunFolder, tmp_path: Path, form: str, head: bytes) -> None:
    """In colours, not in the page's variables."""
    report(folder, "--format", form, "--out", str(tmp_path / "charts"))
    files = list((tmp_path / "charts").iterdir())
    charts = folder.page(folder.record()).deck.charts

    assert set(charts) == {p.stem for p in files}
    assert all(p.read_bytes().startswith(head) for p in files)
    assert not any(b"var(--" in p.read_bytes() for p in files)


def test_a_price_shows_in_the_page(folder: RunFolder) -> None:
    report(folder, "--gpu-price", "1.89 EUR")

    assert "GPU-hour 1.89 EUR" in (folder.path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--gpu-price", "cheap"), "'cheap' is no price"), (("--out", "x"), "--out is for --format alone")],
)
def test_what_makes_no_sense_is_refused(folder: RunFolder, words: tuple[str, ...], said: str) -> None:
    error = run(folder, "report", folder.id, *words).exception

    assert isinstance(error, RequestError)
    assert said in str(error)
    assert error.hint


def test_the_site_is_made_and_named(folder: RunFolder, tmp_path: Path) -> None:
    outcome = run(folder, "site", "--out", str(tmp_path / "site"))

    assert f"pages: {tmp_path / 'site' / 'index.html'}" == outcome.stdout.strip()
    assert (tmp_path / "site" / "runs" / folder.id / "report.html").is_file()
