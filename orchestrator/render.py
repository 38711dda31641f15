"""ImageSpec -> Dockerfile text. Pure but for reading the templates, which are part of the program."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from backends.contract import ImageSpec

FOLDER = Path(__file__).resolve().parent.parent / "dockerfiles"
FILES_IN_IMAGE = "/opt/levelbench"
LAYER_IN_IMAGE = "/opt/serving"

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    undefined=StrictUndefined,
    autoescape=False,  # noqa: S701 - a Dockerfile is no HTML
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(spec: ImageSpec, *, base: str) -> str:
    """The Dockerfile of an image on a base; an unknown name in a template is an error."""
    names = {"spec": spec, "build": spec.build, "base": base, "files": FILES_IN_IMAGE}
    engine = _ENVIRONMENT.get_template(spec.template).render(names)
    if spec.layer is None:
        return engine
    around = _ENVIRONMENT.get_template(spec.layer.template)
    return around.render(names, engine=engine, layer=LAYER_IN_IMAGE)
