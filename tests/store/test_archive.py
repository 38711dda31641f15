"""A run as one file: the same bytes each time, nothing private in it, and refused when anything was altered."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestrator.domain.exchange import Outcome
from orchestrator.domain.telemetry import Sample
from orchestrator.errors import RequestError
from orchestrator.report.records import State
from orchestrator.store import archive, tables
from orchestrator.store.archive import MANIFEST, bring, export
from orchestrator.store.runs import IMPORTED, RunFolder
from orchestrator.store.scrub import Private
from tests.domain.made import exchange
from tests.report import made

NAME = "20261123-043000-llama-cpp-small"
HOST, USER, SECRET = "lab-host-7", "janedoe", "hf_" + "q9Zx" * 6
PRIVATE = Private({"/elsewhere/cache": "{cache}"}, frozenset({HOST}), frozenset({USER}), frozenset())
PLANTED = (HOST, USER, SECRET, "/elsewhere/cache", "/home/janedoe")
LINE = f"{HOST}: {USER} loads /elsewhere/cache/m.gguf and /home/{USER}/x with {SECRET}"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two cells, one never begun; every text in it has what must not get out."""
    cells = [made.cell(users=n) for n in (1, 4)]
    run = RunFolder.create(tmp_path / "runs", NAME, {"notes": [LINE]}, cells=[*cells, made.cell(users=16)])
    run.journal("said", text=LINE)
    run.log_path("engine").write_text(f"started\n{LINE}\n")
    (run.path / "logs" / "engine.config").mkdir()
    (run.path / "logs" / "engine.config" / "a.conf").write_text(LINE)
    for cell in cells:
        exchanges = made.load(cell.load.users, ttft_s=0.1, gap_s=0.02, tokens=30)
        one = made.result(cell, exchanges)
        assert one.provenance is not None
        changes: dict[str, Any] = {
            "argv": ("serve", LINE), "env": {"X": LINE}, "effective": {"path": LINE}, "runtime_version": LINE,
        }  # fmt: skip
        one = one.model_copy(
            update={"notes": (LINE,), "provenance": one.provenance.model_copy(update=changes)}
        )
        bad = exchange(1.0, outcome=Outcome.CONNECT)
        sent = [*exchanges, type(bad)(**{**_fields(bad), "detail": LINE})]
        run.cell(cell.id).save(
            one,
            exchanges=sent,
            samples=[Sample(1, "host", {"host.cpu": 0.5})],
            dockerfile=f"# {LINE}",
            engine_log=run.log_path("engine"),
        )
    return run


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


@pytest.fixture
def file(run: RunFolder, tmp_path: Path) -> Path:
    path = tmp_path / "x.levelbench.zip"
    export(run, path, PRIVATE)
    return path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as found:
        return {name: found.read(name) for name in found.namelist()}


def written(path: Path, files: dict[str, bytes]) -> Path:
    """A zip that somebody else made."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def forged(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """With its manifest made to fit."""
    files = contents(path)
    change(files)
    manifest = json.loads(files[MANIFEST])
    others = {n: d for n, d in files.items() if n != MANIFEST}
    manifest["files"] = {
        n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in others.items()
    }
    return written(path, {MANIFEST: json.dumps(manifest).encode(), **others})


def test_what_was_exported_comes_back(file: Path, tmp_path: Path) -> None:
    """Whole cells with the same figures, a report, nothing of the cell that was never begun."""
    found = bring(file, tmp_path / "other").folder
    cells = found.results()

    assert tmp_path / "other" / NAME == found.path
    assert found.imported
    assert [State.COMPLETE] * 2 == [s.state for s in cells]
    assert [made.cell(users=n).id for n in (1, 4)] == [s.cell_id for s in cells]
    original = made.result(made.cell(users=4), made.load(4, ttft_s=0.1, gap_s=0.02, tokens=30))
    assert cells[1].result is not None
    assert original.metrics == cells[1].result.metrics
    assert len(tables.read_exchanges(found.cell(cells[0].cell_id).path / "exchanges.parquet")) > 10
    assert "# levelbench run" in (found.path / "report.md").read_text()


def test_nothing_private_is_in_any_file(file: Path, run: RunFolder) -> None:
    """Searched in every file, Parquet read, journal, logs, report and table included; all of it was there before."""
    before = b"".join(p.read_bytes() for p in run.path.rglob("*") if p.is_file())
    files = contents(file)
    texts = {name: data.decode(errors="replace") for name, data in files.items()}
    for name in [n for n in files if n.endswith(".parquet")]:
        texts[name] = str(pq.read_table(io.BytesIO(files[name])).to_pylist())

    assert all(word.encode() in before for word in PLANTED)
    assert {} == {name: word for name, text in texts.items() for word in PLANTED if word in text}
    assert "{host}: {user} loads {cache}/m.gguf" in texts["logs/engine.log"]
    assert any("{secret}" in text for name, text in texts.items() if name.endswith("exchanges.parquet"))


def test_the_same_run_gives_the_same_bytes(run: RunFolder, file: Path, tmp_path: Path) -> None:
    """Whatever the clock says; and its sha256 is told."""
    again = tmp_path / "again.levelbench.zip"
    made_again = export(run, again, PRIVATE)

    assert file.read_bytes() == again.read_bytes()
    assert hashlib.sha256(file.read_bytes()).hexdigest() == made_again.sha256
    with zipfile.ZipFile(again) as found:
        assert {(1980, 1, 1, 0, 0, 0)} == {info.date_time for info in found.infolist()}
    assert "left out" in made_again.told[0]
    manifest = json.loads(contents(again)[MANIFEST])
    told = (
        f"scrubbed: {len(manifest['scrubbed'])} of {len(manifest['files'])} files, which its {MANIFEST} names"
    )
    assert told == made_again.told[-1]
    assert "logs/engine.log" in manifest["scrubbed"]


def test_what_is_not_private_is_byte_by_byte_the_same(run: RunFolder, file: Path) -> None:
    """And the manifest says which files are not."""
    files = contents(file)
    scrubbed = set(json.loads(files[MANIFEST])["scrubbed"])
    same = [
        n
        for n in files
        if n not in scrubbed and (run.path / n).is_file() and n not in ("report.md", "results.csv")
    ]

    assert any(n.endswith("telemetry.parquet") for n in same)
    assert all(files[n] == (run.path / n).read_bytes() for n in same)
    assert any(n.endswith("exchanges.parquet") for n in scrubbed)


def test_a_damaged_run_is_not_handed_on(run: RunFolder, tmp_path: Path) -> None:
    """Nor one without a finished cell."""
    (run.cell(made.cell(users=1).id).path / "engine.log").write_text("other")
    with pytest.raises(RequestError, match="was altered"):
        export(run, tmp_path / "x.zip", PRIVATE)
    empty = RunFolder.create(tmp_path / "runs", "empty", {}, cells=[made.cell()])
    with pytest.raises(RequestError, match="no finished cell"):
        export(empty, tmp_path / "x.zip", PRIVATE)

    assert not (tmp_path / "x.zip").exists()


def test_a_file_is_brought_once(file: Path, tmp_path: Path) -> None:
    """Again it is the same run; another run of its name gets a suffix."""
    first = bring(file, tmp_path / "other").folder

    assert first.path == bring(file, tmp_path / "other").folder.path
    beside = bring(file, tmp_path / "runs").folder
    assert f"{NAME}-2" == beside.id


def refused(path: Path, runs: Path, words: str) -> None:
    """With nothing left of it."""
    with pytest.raises(RequestError, match=words) as caught:
        bring(path, runs)

    assert caught.value.hint
    assert [] == (list(runs.iterdir()) if runs.exists() else [])


LOG = "logs/engine.log"


def _drop(files: dict[str, bytes]) -> None:
    del files[LOG]


def _alter(files: dict[str, bytes]) -> None:
    files[LOG] = files[LOG].replace(b"started", b"stopped")


def _add(files: dict[str, bytes]) -> None:
    files["logs/more.log"] = b"x"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop, "logs/engine.log is missing"),
        (_alter, "logs/engine.log was altered"),
        (_add, "logs/more.log is not in its levelbench.json"),
        (lambda f: f.pop(MANIFEST), "no levelbench.json"),
        (lambda f: f.update({MANIFEST: b"{}"}), "cannot be read"),
        (lambda f: f.update({MANIFEST: b"[" * 100_000}), "cannot be read"),
    ],
)
def test_what_was_altered_is_refused(
    file: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], object], words: str
) -> None:
    """Every file is checked against the manifest, and the manifest itself."""
    files = contents(file)
    change(files)

    refused(written(file, files), tmp_path / "other", words)


def _other_figure(files: dict[str, bytes]) -> None:
    (name, *_) = (n for n in files if n.endswith("result.json"))
    files[name] = files[name].replace(b'"completed": ', b'"completed": 1')


def test_a_forged_figure_breaks_the_cells_own_seal(file: Path, tmp_path: Path) -> None:
    """Though the manifest was made to fit."""
    refused(forged(file, _other_figure), tmp_path / "other", "result.json was altered")


@pytest.mark.parametrize(
    "name", ["../out", "/etc/out", "logs/../../out", "a\\b", "run.json/x", ".hidden", "logs/.x"]
)
def test_names_that_lead_elsewhere_are_refused(file: Path, tmp_path: Path, name: str) -> None:
    """Before anything is written anywhere."""
    refused(forged(file, lambda files: files.update({name: b"x"})), tmp_path / "other", "a name that")
    assert not (tmp_path / "out").exists()


def test_links_and_doubles_are_refused(file: Path, tmp_path: Path) -> None:
    """A link could lead anywhere; of two files of one name, one would not be checked."""
    files = contents(file)
    with zipfile.ZipFile(file, "w") as out:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK if name == LOG else stat.S_IFREG) << 16
            out.writestr(info, data)
    refused(file, tmp_path / "other", "a link")
    written(file, {**files, LOG.upper(): b"x", "logs/ENGINE.log": b"x"})
    refused(file, tmp_path / "other", "a name")


def test_bombs_are_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What says that it is large is not opened; what lies about its size is read no further than it said."""
    monkeypatch.setattr(archive, "MOST_BYTES", 10_000_000)
    huge = forged(file, lambda files: files.update({LOG: bytes(20_000_000)}))
    assert huge.stat().st_size < 200_000
    refused(huge, tmp_path / "other", "more than")
    data = huge.read_bytes()
    lying = data.replace(struct.pack("<I", 20_000_000), struct.pack("<I", 1000))
    huge.write_bytes(lying)
    refused(huge, tmp_path / "other", "larger than|altered|no whole zip|not as it was")
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    refused(huge, tmp_path / "other", "more than 3 files")


@pytest.mark.parametrize(
    ("field", "word"), [("method", "METHOD"), ("schema_version", "SCHEMA"), ("format", "format")]
)
def test_other_methods_are_refused(file: Path, tmp_path: Path, field: str, word: str) -> None:
    """By name and number, whichever it is."""
    files = contents(file)
    files[MANIFEST] = json.dumps({**json.loads(files[MANIFEST]), field: 99}).encode()

    refused(written(file, files), tmp_path / "other", f"{word} 99, this version of levelbench has")


def test_a_run_name_that_leads_elsewhere_is_refused(file: Path, tmp_path: Path) -> None:
    """It becomes the name of a folder."""
    for name in ("../x", "a/b", "", ".x", "x" * 200):
        files = contents(file)
        files[MANIFEST] = json.dumps({**json.loads(files[MANIFEST]), "run": name}).encode()
        refused(written(file, files), tmp_path / "other", "no name of a run")


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    """Nor one cut short, nor one that is not there."""
    path = tmp_path / "x.levelbench.zip"
    with pytest.raises(RequestError, match="cannot read"):
        bring(path, tmp_path / "other")
    path.write_bytes(b"no zip")
    refused(path, tmp_path / "other", "no whole zip file")


def test_a_file_cut_short_is_refused(file: Path, tmp_path: Path) -> None:
    """As a broken download is."""
    file.write_bytes(file.read_bytes()[:-500])

    refused(file, tmp_path / "other", "no whole zip file")


def test_a_flipped_bit_is_found(file: Path, tmp_path: Path) -> None:
    """Wherever it is, in twenty places."""
    data = file.read_bytes()
    for at in range(100, len(data) - 100, len(data) // 20):
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            folder = bring(file, tmp_path / "other").folder
        except RequestError:
            continue
        assert [State.COMPLETE] * 2 == [s.state for s in folder.results()]  # it was in nobody's data


def test_an_imported_run_can_be_exported_again(file: Path, tmp_path: Path) -> None:
    """Nothing more of it is scrubbed, and the note that it was imported stays behind."""
    brought = bring(file, tmp_path / "other").folder
    again = export(brought, tmp_path / "again.levelbench.zip", PRIVATE)

    assert ("nothing had to be scrubbed",) == again.told
    assert IMPORTED not in contents(tmp_path / "again.levelbench.zip")
    assert file.read_bytes() != b""
