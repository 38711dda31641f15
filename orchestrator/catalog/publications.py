"""What was published, as data: claims, results and confounders from the catalogue's TOML."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

from orchestrator.catalog import loader
from orchestrator.domain.claim import Address, Claim, Confounder
from orchestrator.domain.published import Publication
from orchestrator.domain.workload import SystemPrompt
from orchestrator.errors import RequestError, unknown

ARTICLE = "article"
_FOLDER = Path(__file__).parent


@cache
def claims() -> tuple[Claim, ...]:
    """In the order of the text."""
    return tuple(loader.read(_FOLDER / "claims.toml", Claim).values())


@cache
def confounders() -> tuple[Confounder, ...]:
    return tuple(loader.read(_FOLDER / "confounders.toml", Confounder).values())


@cache
def publications() -> dict[str, Publication]:
    return loader.read(_FOLDER / "published.toml", Publication)


def families() -> dict[str, tuple[str, ...]]:
    """Which models a name stands for."""
    return {name: family.models for name, family in loader.families().items()}


def results(publication: Publication) -> tuple[str, ...]:
    """Every result that can be asked for, by its name."""
    return tuple(
        f"{publication.id}/{Address(model=model, backend=backend, users=users, system_prompt=system)}"
        for model in publication.models
        for backend in publication.backends
        for users in publication.setting.users
        for system in SystemPrompt
    )


def find(name: str) -> tuple[Publication, Address]:
    """The publication and the cell of `article/8b/BACKEND/u100`; RequestError for what was not published."""
    head, _, cell = name.partition("/")
    if head not in publications():
        raise unknown("publication", head, publications())
    publication = publications()[head]
    known = results(publication)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        users = ", ".join(f"u{n}" for n in publication.setting.users)
        raise RequestError(
            f"{name!r} was not published." + (f" Did you mean {near[0]!r}?" if near else ""),
            hint=f"{head}/MODEL/BACKEND/USERS with {', '.join(publication.models)}; "
            f"{', '.join(publication.backends)}; {users}, with -sys behind it for the system prompt",
        )
    return publication, Address.model_validate(cell)


def is_published(name: str) -> bool:
    """Whether a name begins like that of a published result."""
    return name.partition("/")[0] in publications()


def require_claims(names: tuple[str, ...]) -> tuple[Claim, ...]:
    """Those claims, or all where none is named; RequestError for one that there is not."""
    known = {claim.id: claim for claim in claims()}
    for name in names:
        if name not in known:
            raise RequestError(f"there is no claim {name!r}", hint=f"known: {', '.join(known)}")
    return tuple(known[name] for name in names) if names else claims()
