"""The Makefile: what it lists, and how what is typed reaches the command. A stub stands for it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    *(
        "help",
        "bench",
        "nightly",
        "plan",
        "quantize",
        "report",
        "history",
        "site",
        "doctor",
        "selftest",
        "test",
        "check",
        "clean",
    ),
    *("reproduce", "claims", "compare", "export", "import"),
}
STUB = """#!/bin/sh
printf '%s\\n' "$@"
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A virtual environment that is ready, whose programs print their arguments, one a line."""
    for name in ("levelbench", "python", "ruff", "mypy"):
        stub = tmp_path / "venv" / "bin" / name
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text(STUB)
        stub.chmod(0o755)
    for name in (".ready", ".ready-dev"):
        (tmp_path / "venv" / name).touch()
    return tmp_path / "venv"


def make(venv: Path, *arguments: str) -> list[str]:
    """The arguments that the stub got."""
    options = ("-s", "-o", f"{venv}/.ready", "-o", f"{venv}/.ready-dev", f"VENV={venv}")
    done = subprocess.run(
        ["make", *options, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout.splitlines()


def test_help_lists_every_target(venv: Path) -> None:
    """With one line of what it does; it is also what a bare `make` prints."""
    listed = make(venv, "help")

    assert TARGETS == {line.split()[1] for line in listed}
    assert all(len(line.split()) > 3 for line in listed)
    assert listed == make(venv)


def test_every_target_is_phony_and_told() -> None:
    """A file named `test` must not stop it; a target without `##` would not be listed."""
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)

    assert TARGETS == set(phony.split())
    assert TARGETS == set(re.findall(r"^([a-z]+):.*## ", text, re.MULTILINE))


def test_every_variable_reaches_its_option(venv: Path) -> None:
    """As the issue has it, word for word."""
    typed = (
        "BACKEND=lmdeploy MODEL=70b-awq USERS=10,50,100 DURATION=300 WORKLOAD=article PROFILE=defaults "
        "RUNTIME=docker RELEASE=current ACCELERATOR=cuda PREFIX_CACHE=off EXTRA_ARG=--tp=1"
    )
    expected = (
        "bench --backend lmdeploy --model 70b-awq --users 10,50,100 --duration 300 --workload article "
        "--profile defaults --release current --runtime docker --accelerator cuda --prefix-cache off "
        "--extra-arg --tp=1"
    )

    assert expected.split() == make(venv, "bench", *typed.split())


def test_bare_bench_leaves_everything_to_the_command(venv: Path) -> None:
    """Defaults stand in one place."""
    assert ["bench"] == make(venv, "bench")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("bench PLAN=1 MODEL=tiny", "plan --model tiny"),
        ("plan MODEL=tiny JSON=1", "plan --model tiny --json"),
        ("bench JSON=1", "bench --json"),
        ("bench BASE=my:1 PORT=8080", "--base-image my:1 --port 8080 bench"),
        ("nightly", "matrix article"),
        (
            "nightly MATRIX=my.toml SUBSET=8b,first ONLY=users=10 SEED=7 NEW=1 JSON=1 WAIT=1",
            "--wait matrix my.toml --subset 8b,first --only users=10 --seed 7 --new --json",
        ),
        ("nightly MATRIX=small PLAN=1", "matrix small --plan"),
        ("nightly RESUME=20261101-x", "resume 20261101-x"),
        ("nightly RESUME=latest FAILED=1 JSON=1", "resume latest --only-failed --json"),
        ("report", "report"),
        ("report GPU_PRICE=1.89", "report --gpu-price 1.89"),
        ("site", "site"),
        ("site OUT=/srv/pages", "site --out /srv/pages"),
        ("report RUN=20261101-x JSON=1", "report 20261101-x --json"),
        ("quantize MODEL=8b METHOD=awq JSON=1", "quantize --model 8b --method awq --json"),
        ("history", "history"),
        (
            "history BACKEND=vllm MODEL=8b CELL=u16 JSON=1",
            "history --backend vllm --model 8b --cell u16 --json",
        ),
        ("doctor JSON=1", "doctor --json"),
        ("clean", "clean"),
        ("reproduce RESULT=article/8b/vllm/u10", "reproduce article/8b/vllm/u10"),
        (
            "reproduce RESULT=r PLAN=1 ALSO=matched FROM=a,b JSON=1",
            "reproduce r --plan --also matched --from a,b --json",
        ),
        ("claims JSON=1", "claims --json"),
        ("compare A=x B=y JSON=1", "compare x y --json"),
        ("export", "export latest"),
        ("export RUN=x OUT=y.zip", "export x --out y.zip"),
        ("import FILE=y.zip", "import y.zip"),
        ("selftest", "selftest"),
        (
            "selftest FULL=1 SAVE=1 PEERS=aiperf SHARDS=2 JSON=1",
            "selftest --full --save --peers aiperf --shards 2 --json",
        ),
        ("test", "-m pytest -n 4"),
        ("test MARK=docker", "-m pytest -m docker"),
    ],
)
def test_targets_call_the_command(venv: Path, typed: str, expected: str) -> None:
    """One line each."""
    assert expected.split() == make(venv, *typed.split())


def test_check_runs_all_four(venv: Path) -> None:
    """ruff, its formatter, mypy, the architecture's tests."""
    expected = ["check", ".", "format", "--check", ".", "-m", "pytest", "-q", "tests/test_architecture.py"]

    assert expected == [word for word in make(venv, "check") if word]


@pytest.mark.parametrize(
    "value",
    [
        "two words",
        "a;touch {}",
        "`touch {}`",
        "$(touch {})",
        "$$(touch {})",
        "$(shell touch {})",
        '"; touch {}; "',
        "'; touch {}; '",
        "a && touch {} || touch {}",
        "a\\b",
        "$HOME *",
        "it's, comma",
    ],
)
def test_values_arrive_as_typed_and_run_nothing(venv: Path, tmp_path: Path, value: str) -> None:
    """Whatever stands in a variable is an argument, not a program: for options, for a run's name, for marks."""
    flag = tmp_path / "executed"
    text = value.format(flag, flag)

    assert ["bench", "--model", text] == make(venv, "bench", f"MODEL={text}")
    assert ["matrix", text, "--subset", text] == make(venv, "nightly", f"MATRIX={text}", f"SUBSET={text}")
    assert ["resume", text] == make(venv, "nightly", f"RESUME={text}")
    assert ["--base-image", text, "bench"] == make(venv, "bench", f"BASE={text}")
    assert ["report", text] == make(venv, "report", f"RUN={text}")
    assert ["-m", "pytest", "-m", text] == make(venv, "test", f"MARK={text}")
    assert not flag.exists()
