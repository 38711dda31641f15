"""`levelbench history`, `summary` and `install-timer` as a person types them, on real run folders."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from orchestrator import nights, planning, retrospect
from orchestrator.domain import reruns
from orchestrator.domain.cell import Role, RuntimeKind
from orchestrator.domain.entry import Entry
from orchestrator.domain.reasons import Level
from orchestrator.domain.reruns import Kind, Rerun
from orchestrator.domain.result import Result
from orchestrator.errors import CellError, RequestError
from orchestrator.planning import Request
from orchestrator.store.index import Index
from orchestrator.store.runs import RunFolder
from tests.fakes.backend import FakeBackend
from tests.fakes.runtime import FakeRuntime
from tests.report import made
from tests.test_bench import TRAITS

ROOT = Path(__file__).resolve().parent.parent
RATES = (1003.0, 998.0, 1011.0, 994.0, 1002.0, 989.0, 1007.0, 1000.0)
BASE = made.result(made.cell(users=4), made.load(4, ttft_s=0.08, gap_s=0.02, tokens=40))


def night(number: int, rate: float, image: str = "sha256:old") -> Result:
    """A valid result of that night."""
    assert BASE.metrics is not None
    assert BASE.verdict is not None
    assert BASE.provenance is not None
    assert BASE.provenance.image is not None
    return BASE.model_copy(
        update={
            "started_at": f"2026-11-{number:02d}T02:00:00+00:00",
            "metrics": BASE.metrics.model_copy(update={"tokens_per_s": rate, "tokens_per_s_bounds": None}),
            "verdict": BASE.verdict.model_copy(update={"level": Level.VALID, "findings": ()}),
            "provenance": BASE.provenance.model_copy(
                update={"image": BASE.provenance.image.model_copy(update={"digest": image})}
            ),
        }
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Nine nights, the last one slower by a sixth, with another image."""
    for number, rate in enumerate(RATES, 1):
        keep(tmp_path / "runs", night(number, rate), number)
    keep(tmp_path / "runs", night(9, 840, "sha256:new"), 9)
    return tmp_path / "runs"


def keep(runs: Path, result: Result, number: int) -> None:
    folder = RunFolder.create(runs, f"202611{number:02d}-020000-x", {}, cells=[result.cell])
    folder.cell(result.cell.id).save(result)
    head = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps(head | {"created_at": result.started_at}))


def levelbench(runs: Path, *words: str, cwd: Path = ROOT) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    program = "from orchestrator.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--runs", str(runs), "--cache", str(runs.parent / "cache"), *words],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(runs.parent)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_history_shows_the_series_and_names_the_cause(runs: Path) -> None:
    """A row with its sparkline; below, what got worse and the only thing that changed."""
    code, out, err = levelbench(runs, "history")

    assert 0 == code, err
    assert "| llama-cpp 0.4.1 small quick 4 users" in out
    assert "▁ " in out
    assert "| regression" in out
    assert "only the engine changed: engine image sha256:old -> sha256:new" in out


def test_the_site_shows_what_got_worse(runs: Path) -> None:
    """From run folders alone: on the first page, and at its run in the series."""
    code, _, err = levelbench(runs, "site", "--out", str(runs.parent / "site"))
    index, series = ((runs.parent / "site" / name).read_text() for name in ("index.html", "series.html"))

    assert 0 == code, err
    assert "1 series: 1 worse than before." in index
    assert "▼ worse" in index
    assert "only the engine changed: engine image sha256:old → sha256:new" in index
    assert "2026-11-09, llama-cpp: worse: token rate 1,000 → 840 tok/s (-16.0 %" in series
    assert '"short":"worse -16.0 %"' in series
    assert 'id="claims"' in index
    assert "not measured" in index
    assert 'id="engines"' in index


def test_history_is_narrowed_by_what_was_asked(runs: Path) -> None:
    """And is JSON for programs."""
    found = json.loads(
        levelbench(runs, "history", "--json", "--backend", "llama-cpp", "--model", "small", "--cell", "u4")[1]
    )

    assert ["regression"] == [series["verdict"] for series in found["series"]]
    assert [] == found["not_read"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--backend", "llamacpp"), "unknown backend of these runs 'llamacpp'. Did you mean 'llama-cpp'?"),
        (("--model", "smal"), "unknown model of these runs 'smal'. Did you mean 'small'?"),
        (("--model", "small", "--cell", "u16"), "no series is --model small --cell u16"),
    ],
)
def test_what_no_series_is_of_is_refused(runs: Path, words: tuple[str, ...], said: str) -> None:
    """A slip, more likely than a finding."""
    code, out, err = levelbench(runs, "history", *words)

    assert (2, "") == (code, out)
    assert said in err


def test_rebuild_counts_and_names_what_is_damaged(runs: Path) -> None:
    """Every file is looked at."""
    next(runs.glob("20261103-*/cells/*/provenance.json")).write_text("{}")
    code, out, _ = levelbench(runs, "history", "rebuild")

    assert 0 == code
    assert (
        "not read: 20261103-020000-x, llama-cpp-current-small-defaults-u4: provenance.json was altered" in out
    )
    assert f"8 results in {runs / 'history.sqlite'}" in out


def test_costs_are_told(runs: Path) -> None:
    """What a plan's estimate may rest on."""
    found = json.loads(levelbench(runs, "history", "costs", "--json")[1])

    assert {"up", "ready", "warm-up", "measure"} == {work["phase"] for work in found}
    assert [9] * 4 == [work["times"] for work in found]
    assert "25.0 s" in levelbench(runs, "history", "costs")[1]


def test_a_summary_is_written_in_each_form(runs: Path) -> None:
    """Of the latest run by default."""
    page = levelbench(runs, "summary")[1]
    junit = ET.fromstring(levelbench(runs, "summary", "--format", "junit")[1])  # noqa: S314 - our own
    body = json.loads(levelbench(runs, "summary", "20261108-020000-x", "--format", "json")[1])

    assert page.startswith("## levelbench 20261109-020000-x: needs a look")
    assert "### Regressions and improvements" in page
    assert ["levelbench.cells", "levelbench.history"] == [suite.attrib["name"] for suite in junit]
    assert ("20261108-020000-x", True, []) == (body["run"], body["well"], body["history"])


def test_install_timer_is_dry_by_default(runs: Path, tmp_path: Path) -> None:
    """Units and commands on stdout, with this very program and these folders; the host is left alone."""
    code, out, err = levelbench(runs, "install-timer", "small", "--at", "03:30", "--user", cwd=tmp_path)

    assert 0 == code, err
    assert f"ExecStart={Path(sys.executable).with_name('levelbench')} --runs {runs} --cache" in out
    assert re.search(r"^ExecStart=.* --lock \S+ --wait matrix /\S+/small.toml$", out, re.MULTILINE)
    assert re.search(r"^ExecStart=.* resume --if-cut-short$", out, re.MULTILINE)
    assert "OnCalendar=*-*-* 03:30:00" in out
    assert out.endswith("systemctl --user enable --now levelbench.timer\n")
    assert not (tmp_path / ".config").exists()


def test_install_timer_wants_a_sound_matrix_and_a_time(runs: Path, tmp_path: Path) -> None:
    """Told before a night is lost."""
    (tmp_path / "bad.toml").write_text("title = 1\n")
    bad = levelbench(runs, "install-timer", "bad.toml", cwd=tmp_path)
    late = levelbench(runs, "install-timer", "small", "--at", "25:00", cwd=tmp_path)

    assert (2, True) == (bad[0], "bad.toml" in bad[2])
    assert (2, True) == (late[0], "no time of day" in late[2])


def test_a_boot_goes_on_with_what_was_cut_short_alone(runs: Path, tmp_path: Path) -> None:
    """No run, or one that came to its end, is nothing to do."""
    folder = RunFolder.find(runs)

    assert nights.was_cut_short(runs, "latest")
    folder.journal("run-ended", complete=True)
    assert not nights.was_cut_short(runs, "latest")
    assert (0, "nothing was cut short\n") == levelbench(runs, "resume", "--if-cut-short")[:2]
    assert (0, "nothing was cut short\n") == levelbench(tmp_path / "none", "resume", "--if-cut-short")[:2]


RERUN = Rerun(kind=Kind.LAST_GOOD, run="20261101-a", group="", cell="", image="sha256:old")


@pytest.fixture
def planned(tmp_path: Path) -> tuple[Path, Rerun]:
    """A run with a whole plan of two loads, and a re-run of one of them."""
    request = Request(backends=("fake",), model="tiny", workload="short", users=(1, 2))
    plan = planning.plan(request, {"fake": FakeBackend()}, TRAITS, RuntimeKind.PROCESS)
    group = plan.groups[0].group
    RunFolder.create(tmp_path, "20261101-a", plan.model_dump(mode="json"), cells=group.cells)
    return tmp_path, RERUN.model_copy(update={"group": group.id, "cell": group.cells[1].id})


def test_a_rerun_has_a_plan_from_the_run_that_it_repeats(planned: tuple[Path, Rerun]) -> None:
    """That cell alone, and its image by digest; the launch as it was."""
    runs, rerun = planned
    whole = retrospect.again(runs, [rerun.model_copy(update={"image": None})])
    plan = retrospect.again(runs, [rerun])

    assert Role.CONFIRM is plan.group.role
    assert [f"{rerun.group}-last-good-20261101-a-u2"] == [cell.id for cell in plan.group.cells]
    assert [reruns.cell(rerun, plan)] == [cell.id for cell in plan.group.cells]
    assert ("sha256:old", None) == (plan.image.digest, whole.image.digest)
    assert whole.serve == plan.serve


def test_an_image_that_is_gone_is_no_rerun(planned: tuple[Path, Rerun]) -> None:
    """The runtime says so; nothing is built for it."""
    runs, rerun = planned
    gone = FakeRuntime(fail={"image": CellError("the image is not here any more")})

    assert retrospect.image_here(runs, FakeRuntime(), rerun)
    assert not retrospect.image_here(runs, gone, rerun)
    assert not retrospect.image_here(runs, FakeRuntime(), rerun.model_copy(update={"group": "other"}))
    with pytest.raises(RequestError, match="no group other"):
        retrospect.again(runs, [rerun.model_copy(update={"group": "other"})])


def test_a_run_without_a_plan_cannot_be_repeated(runs: Path) -> None:
    """A load on an endpoint, or a run of another version."""
    with pytest.raises(RequestError, match="no plan that this version"):
        retrospect.again(runs, [RERUN.model_copy(update={"run": "20261101-020000-x"})])


def test_entries_know_how_their_engine_was_planned(planned: tuple[Path, Rerun]) -> None:
    """Not how it was started: a free port of every night would look like a change."""
    runs, _ = planned
    folder = RunFolder.find(runs, "20261101-a")
    for cell in (folder.cell(stored.cell_id) for stored in folder.record().cells):
        name = cell.path.name
        group = folder.plan().groups[0].group
        cell.save(BASE.model_copy(update={"cell": next(c for c in group.cells if c.id == name)}))
    index = Index(runs)
    index.refresh()
    found: tuple[Entry, ...] = index.entries()

    assert 2 == len(found)
    assert all(entry.traits["argv"] for entry in found)  # type: ignore[index]
