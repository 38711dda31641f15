"""The judging commands as a person types them: exit codes, words, JSON."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from orchestrator import reproduce
from orchestrator.errors import BenchError, HostError, RequestError
from orchestrator.host import facts
from orchestrator.store.runs import RunFolder
from tests import test_cli
from tests.domain import results
from tests.domain.results import article
from tests.fakes.runtime import FakeRuntime
from tests.report import made
from tests.test_cli import QUICK, Typed

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
collected, bare, runtime = test_cli.collected, test_cli.bare, test_cli.runtime


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """In a folder of its own, with no GPU in sight."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(facts, "host", lambda: made.provenance(made.group()).host)
    return Typed(tmp_path)


def store(typed: Typed, name: str, *cells: Any) -> RunFolder:
    folder = RunFolder.create(typed.runs, name, {}, cells=[one.cell for one in cells])
    for one in cells:
        folder.cell(one.cell.id).save(one)
    return folder


def refused(done: Any) -> BenchError:
    assert isinstance(done.exception, BenchError), done.exception
    assert done.exception.hint
    return done.exception


@pytest.mark.parametrize(
    ("rate", "code", "word"),
    [(4000.0, 0, "reproduced"), (3000.0, 5, "not reproduced"), (3610.0, 5, "undecided")],
)
def test_published_result_from_a_run(typed: Typed, rate: float, code: int, word: str) -> None:
    """0 only if it is reproduced."""
    store(typed, "r1", article("8b/lmdeploy/u100", rate).result)
    done = typed("reproduce", "article/8b/lmdeploy/u100", "--from", "r1")

    assert code == done.exit_code, done.output
    assert done.output.startswith(f"# article/8b/lmdeploy/u100: {word}\n")


def test_published_result_as_json(typed: Typed) -> None:
    """All of it, and nothing else on stdout."""
    store(typed, "r1", article("8b/lmdeploy/u100", 4000, gpu=results.H100).result)
    done = typed("reproduce", "article/8b/lmdeploy/u100", "--from", "r1", "--json")
    found = json.loads(done.stdout)

    assert 5 == done.exit_code
    assert ("not comparable", "reproduced", "r1") == (found["ruling"], found["would_be"], found["run"])
    assert 4000.0 == found["figures"][0]["exhibit"]["value"]


def test_plan_of_a_published_result(typed: Typed) -> None:
    """Works where it cannot be run, and writes nothing."""
    done = typed("reproduce", "article/8b/tensorrt-llm/u100", "--plan", "--also", "matched")

    assert 0 == done.exit_code, done.exception
    assert "published: " in done.output
    assert "--max_batch_size 64" in done.output
    assert "--max_batch_size 256" in done.output
    assert not typed.runs.exists()


def test_published_result_without_a_gpu(typed: Typed) -> None:
    """3, and what can be done instead."""
    error = refused(typed("reproduce", "article/8b/vllm/u10"))

    assert isinstance(error, HostError)
    assert "no GPU" in str(error)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("reproduce", "article/8b/vllm/u11"), "was not published"),
        (("reproduce", "nothing"), "there is no run"),
        (("reproduce", "r1", "--also", "matched"), "--also is of published results"),
        (("reproduce", "x.levelbench.zip"), "cannot read"),
        (("compare", "r1"), "one run alone"),
        (("compare", "r1", "r1"), "held against itself"),
        (("claims", "99"), "no claim '99'"),
        (("import", "x.zip"), "cannot read"),
        (("export", "nothing"), "there is no run"),
    ],
)
def test_impossible_requests(typed: Typed, words: tuple[str, ...], message: str) -> None:
    """2, with what was wrong."""
    error = refused(typed(*words))

    assert isinstance(error, RequestError)
    assert message in str(error)


@pytest.mark.parametrize("words", [("reproduce", ""), ("compare", "", "r1"), ("export", "")])
def test_no_name_at_all_is_told(typed: Typed, words: tuple[str, ...]) -> None:
    """As make gives it where its variable was forgotten; with what there is to name."""
    store(typed, "r1", results.result(1000.0))
    error = refused(typed(*words))

    assert ("no run was named", "latest, or one of r1") == (str(error), error.hint)


def test_claims_are_listed(typed: Typed) -> None:
    """As text and as JSON, also without any run."""
    text, machine = typed("claims"), typed("claims", "1", "12", "--json")

    assert 12 == text.output.count("\n## Claim ")
    assert ["1", "12"] == [c["claim"]["id"] for c in json.loads(machine.stdout)]


def test_runs_are_compared(typed: Typed) -> None:
    """0: a comparison is an answer, not a verdict."""
    store(typed, "r1", results.result(1000.0))
    store(typed, "r2", results.result(2000.0))
    text, machine = typed("compare", "r1", "r2"), typed("compare", "r1", "latest", "--json")

    assert (0, 0) == (text.exit_code, machine.exit_code)
    assert "2.000*" in text.output
    assert "same cell" in json.loads(machine.stdout)[0]["paired_by"]


def test_methods_are_not_mixed(typed: Typed) -> None:
    """2, by name."""
    store(typed, "r1", results.result())
    store(typed, "r2", results.result().model_copy(update={"method": 2}))

    assert "METHODs 2 and 3" in str(refused(typed("compare", "r1", "r2")))
    assert "client METHOD: 2, but here it is 3" in str(refused(typed("reproduce", "r2", "--from", "r1")))


def test_a_run_is_run_again_and_judged(
    typed: Typed, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command to the verdict; what the fake engine gives is no figure to believe."""
    monkeypatch.setattr(reproduce, "choose", lambda *_, **__: (runtime, ()))
    assert 0 == typed("bench", *QUICK).exit_code
    plan = typed("reproduce", "latest", "--plan")
    done = typed("reproduce", "runs/latest")

    assert 0 == plan.exit_code
    assert "pin  client METHOD: 3" in plan.output
    assert 5 == done.exit_code, done.exception
    assert 3 == len(list(typed.runs.iterdir()))  # two runs and the link


def test_a_run_goes_out_and_comes_back(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported here, imported elsewhere, judged straight from the file."""
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-host-7")
    folder = store(typed, "r1", results.result(1000.0))
    folder.journal("said", text=f"{socket.gethostname()} in {typed.runs}")
    store(typed, "r2", results.result(1001.0))
    out = typed("export", "r1")
    done = typed("reproduce", "r1.levelbench.zip", "--from", "r2")
    brought = Typed(tmp_path / "elsewhere")("import", "r1.levelbench.zip")

    assert (0, 0, 0) == (out.exit_code, done.exit_code, brought.exit_code), (out.exception, done.exception)
    assert "r1.levelbench.zip  sha256:" in out.stdout
    assert done.stdout.startswith("# r1-2: reproduced")
    journal = (tmp_path / "elsewhere" / "runs" / "r1" / "journal.jsonl").read_text()
    assert "{host} in {runs}" in journal
    assert out.stdout.split("sha256:")[1] == brought.stdout.split("sha256:")[1]


def test_help_names_exit_code_5(typed: Typed) -> None:
    """Where the others stand."""
    assert "5 not reproduced" in " ".join(typed("--help").output.split())
