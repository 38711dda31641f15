"""A folder of pages over many runs, which any file server can serve, or none: all links are relative."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.report.html import render
from orchestrator.report.html.changes import UNTOLD, Past
from orchestrator.report.html.site import Site, site
from orchestrator.report.html.values import EMPTY, Table
from orchestrator.store import files
from orchestrator.store.runs import LATEST, PAGE, REPORT, RUN, TABLE, RunFolder

COPIED = (PAGE, REPORT, TABLE)


def write(
    root: Path,
    out: Path,
    past: Past = UNTOLD,
    *,
    claims: Table = EMPTY,
    engines: Table = EMPTY,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """The site of all runs in `root`, in `out`; gives its first page. `past` is what the history says of them. A run
    that cannot be read is left out with a word; a run's page that is there already is taken as it is."""
    kept = []
    for path in sorted(p.parent for p in root.glob(f"*/{RUN}") if p.parent.name != LATEST):
        folder = RunFolder.open(path)
        try:
            kept.append((folder, folder.record()))
        except RequestError as error:
            say(f"left out: {error}")
    if not kept:
        raise RequestError(f"there is no run in {root} yet", hint="make one: make bench")
    for folder, _ in kept:
        _copy(folder, out / "runs" / folder.id)
    whole = site([record for _, record in kept], past, claims=claims, engines=engines)
    return _pages(whole, out)


def _copy(folder: RunFolder, to: Path) -> None:
    if not all((folder.path / name).exists() for name in COPIED):
        folder.write_reports()
    with files.translated(to):
        to.mkdir(parents=True, exist_ok=True)
        for name in COPIED:
            shutil.copyfile(folder.path / name, to / name)


def _pages(whole: Site, out: Path) -> Path:
    index = out / "index.html"
    files.write_atomically(index, render.site_index(whole).encode())
    files.write_atomically(out / "series.html", render.site_series(whole).encode())
    return index
