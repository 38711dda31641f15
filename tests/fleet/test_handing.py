"""Groups for schedulers that are not driven: what is printed, and the example workflow of the docs, run step by step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from orchestrator.store.runs import RunFolder
from tests.test_crashes import MATRIX, WORKLOAD

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "docs" / "fleet-github.yml"
GROUPS = {"one-current-tiny-defaults", "two-current-tiny-defaults"}
pytestmark = pytest.mark.timeout(300)


def levelbench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "tests.fakes.night_program", str(folder), "", *words),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LEVELBENCH_LOCK": str(folder / "lock")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def matrix(tmp_path: Path) -> str:
    (tmp_path / "blink.toml").write_text(WORKLOAD)
    (tmp_path / "matrix.toml").write_text(f'runtime = "process"\n{MATRIX}')
    return str(tmp_path / "matrix.toml")


def test_a_plan_is_printed_for_a_scheduler_and_nothing_is_begun(tmp_path: Path, matrix: str) -> None:
    """A line for each group, or one line for GitHub, with the job's limit."""
    lines = levelbench(tmp_path, "matrix", matrix, "--plan", "--format", "jsonl").stdout.splitlines()
    github = levelbench(tmp_path, "matrix", matrix, "--plan", "--format", "github").stdout

    assert GROUPS == {json.loads(line)["group"] for line in lines}
    assert [json.loads(line) for line in lines] == json.loads(github)["include"]
    assert 1 == github.count("\n")
    assert {"run": "", "cells": 2, "host": "", "accelerator": "cpu"}.items() <= json.loads(lines[0]).items()
    assert 60 < json.loads(lines[0])["minutes"] < 70
    assert not (tmp_path / "runs").exists()


def test_a_bench_is_printed_for_a_scheduler_too(tmp_path: Path) -> None:
    words = ("--backend", "one,two", "--model", "tiny", "--users", "1,2,3", "--accelerator", "cpu")
    done = levelbench(tmp_path, "plan", *words, "--format", "jsonl")

    assert [("one", 3), ("two", 3)] == [
        (row["backend"], row["cells"]) for row in map(json.loads, done.stdout.splitlines())
    ], done.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--format", "github"), "--fleet github"),
        (("--pin", "tiny=a", "--plan"), "without --fleet has no effect"),
        (("--partition", "gpu", "--fleet", "github"), "without --fleet slurm has no effect"),
        (("--fleet", "jsonl", "--pin", "tiny"), "pins nothing"),
        (("--fleet", "jsonl", "--pin", "8b=gpu1"), "model to pin"),
        (("--fleet", "slurm", "--results", "/there"), "--login HOST"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    tmp_path: Path, matrix: str, words: tuple[str, ...], hint: str
) -> None:
    done = levelbench(tmp_path, "matrix", matrix, *words)

    assert 2 == done.returncode
    assert hint in " ".join((done.stdout + done.stderr).split())
    assert not (tmp_path / "runs").exists()


def test_a_run_that_was_handed_out_is_not_gone_on_with_here(tmp_path: Path, matrix: str) -> None:
    """Neither by resume nor by the same matrix: it says where it goes on."""
    row = json.loads(levelbench(tmp_path, "matrix", matrix, "--fleet", "jsonl").stdout.splitlines()[0])
    for words in (("resume", row["run"]), ("matrix", matrix), ("matrix", matrix, "--fleet", "slurm")):
        done = levelbench(tmp_path, *words)

        assert 2 == done.returncode, words
        assert f"levelbench collect {row['run']}" in " ".join((done.stdout + done.stderr).split())


def test_what_is_missing_is_told(tmp_path: Path, matrix: str) -> None:
    """A collection may come at any time; the run is not over before every group is there."""
    rows = levelbench(
        tmp_path, "matrix", matrix, "--fleet", "jsonl", "--pin", "tiny=gpu7"
    ).stdout.splitlines()
    first, second = map(json.loads, rows)
    folder = RunFolder(tmp_path / "runs" / first["run"])
    done = levelbench(tmp_path, "collect")

    assert "gpu7" == first["host"]
    assert 4 == done.returncode
    told = f"no result yet of {first['group']}, {second['group']}"
    assert told in " ".join((done.stdout + done.stderr).split())
    assert not folder.is_over
    assert (folder.path / "report.md").exists()


@dataclass
class Actions:
    """As much of GitHub's runner as the example needs: a fresh checkout for each job, artefacts, expressions."""

    folder: Path
    values: dict[str, str] = field(default_factory=dict)
    artefacts: dict[str, Path] = field(default_factory=dict)

    def job(self, name: str, job: dict[str, Any], **matrix: str) -> Path:
        here = self.folder / f"{name}-{matrix.get('group', '')}"
        _checkout(here)
        values = self.values | {f"matrix.{key}": str(value) for key, value in matrix.items()}
        env = {key: _filled(value, values) for key, value in job.get("env", {}).items()}
        for step in job["steps"]:
            if "run" in step:
                self._run(here, step, env)
            elif step["uses"].startswith("actions/upload-artifact@"):
                self._upload(here, {k: _filled(v, values) for k, v in step["with"].items()})
            elif step["uses"].startswith("actions/download-artifact@"):
                self._download(here, {k: _filled(v, values) for k, v in step["with"].items()})
            else:
                assert step["uses"].startswith("actions/checkout@")
        return here

    def _run(self, here: Path, step: dict[str, Any], env: dict[str, str]) -> None:
        assert "${{" not in step["run"], "an expression in a shell line lets a value become a command"
        said = here / "github-output"
        done = subprocess.run(
            ("bash", "-e", "-o", "pipefail", "-c", step["run"]),
            cwd=here,
            env={"PATH": os.environ["PATH"], "HOME": str(here), "GITHUB_OUTPUT": str(said)} | env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        if "id" in step:
            key, _, value = said.read_text().strip().partition("=")
            self.values[f"needs.{step['id']}.outputs.{key}"] = value
            self.values[f"fromJSON(needs.{step['id']}.outputs.{key}).include[0].run"] = json.loads(value)[
                "include"
            ][0]["run"]

    def _upload(self, here: Path, what: dict[str, str]) -> None:
        """The least common ancestor of the paths is the artefact's root, as GitHub does it."""
        paths = [here / line for line in what["path"].split() if not line.startswith("!")]
        root = Path(os.path.commonpath(paths)) if len(paths) > 1 else paths[0]
        target = self.folder / "artefacts" / what["name"]
        for path in paths:
            shutil.copytree(path, target / path.relative_to(root), ignore=shutil.ignore_patterns("latest"))
        self.artefacts[what["name"]] = target

    def _download(self, here: Path, what: dict[str, str]) -> None:
        pattern = what.get("pattern", what.get("name", ""))
        names = [n for n in self.artefacts if re.fullmatch(pattern.replace("*", ".*"), n)]
        assert names, f"no artefact is called {pattern}"
        for name in names:
            shutil.copytree(self.artefacts[name], here / what["path"], dirs_exist_ok=True)


def test_the_example_workflow_becomes_one_run(tmp_path: Path) -> None:
    """Every step as it stands in docs/, each job in a checkout of its own, joined by artefacts alone."""
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    actions = Actions(tmp_path, {"github.run_id": "77", "github.run_attempt": "1"})
    actions.job("plan", jobs["plan"])
    rows = json.loads(actions.values["needs.plan.outputs.groups"])["include"]
    for row in rows:
        actions.job("measure", jobs["measure"], **row)
    end = actions.job("collect", jobs["collect"])
    run = RunFolder(end / "runs" / rows[0]["run"])

    assert GROUPS == {row["group"] for row in rows}
    assert "${{ fromJSON(needs.plan.outputs.groups) }}" == jobs["measure"]["strategy"]["matrix"]
    assert run.is_over
    assert 4 == len([s for s in run.results() if s.result and s.result.metrics])
    assert {"77.1"} == {s.result.placed.attempt for s in run.results() if s.result and s.result.placed}
    assert (tmp_path / "artefacts" / "run" / rows[0]["run"] / "report.md").exists()


def _checkout(here: Path) -> None:
    """A clean one, whose levelbench knows two engines that are small programs."""
    (here / ".venv" / "bin").mkdir(parents=True)
    (here / "blink.toml").write_text(WORKLOAD)
    (here / "matrix.toml").write_text(f'runtime = "process"\n{MATRIX}')
    (here / "Makefile").write_text(".venv/.ready:\n\ttouch $@\n")
    program = here / ".venv" / "bin" / "levelbench"
    program.write_text(
        f'#!/bin/sh\nhere=$PWD\nif [ -d "$2" ]; then two=$(realpath "$2"); else two=$2; fi\n'
        f'[ "$1" = matrix ] && two=$here/$2\ncd {ROOT}\none=$1; shift; shift\n'
        f'export PYTHONPATH={ROOT} LEVELBENCH_LOCK="$here/lock"\n'
        f'exec {sys.executable} -m tests.fakes.night_program "$here" "" "$one" "$two" "$@"\n'
    )
    program.chmod(0o755)


def _filled(text: object, values: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], str(text))
