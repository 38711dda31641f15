"""`levelbench` with a fake engine in a real container, and a record of everything that it was given.

    HF_TOKEN=... python -m tests.secrets_made NOTES LEAK -- WORDS...

Everything is real but the engine's image: the fetch, the build of an image (of no packages), the container, the
load. NOTES is a folder for what `docker inspect` and /proc say of the containers while they are up. LEAK, if
it is not empty, plants the token where it must not be, so that a test can see that it would be found.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil

from backends.contract import ImageSpec
from orchestrator.cli import main
from orchestrator.domain.provenance import Image
from orchestrator.host import preflight
from orchestrator.host.findings import Finding
from orchestrator.runtime import choice
from orchestrator.runtime.docker import DockerRuntime
from orchestrator.runtime.interface import Deployment, DeploymentSpec, Progress
from tests.fakes.engines import image as fake
from tests.runtime import made

BACKEND, RELEASE, MODEL = "vllm", "current", "8b"


class NotingRuntime(DockerRuntime):
    """Notes down what a daemon knows of an engine that is up, and what its processes have."""

    notes = Path()
    leak = ""

    def image(self, spec: ImageSpec, progress: Progress) -> Image:
        built = super().image(made.image_spec(), progress)
        name, _ = fake.personality(BACKEND, RELEASE)
        stand_in = fake.build(self.client, name, made.BASE)
        history = [self.client.images.get(i.digest).history() for i in (built, stand_in)]
        attrs = [self.client.images.get(i.digest).attrs for i in (built, stand_in)]
        self._note("images.json", json.dumps([history, attrs]))
        return stand_in

    def up(self, spec: DeploymentSpec) -> Deployment:
        token = os.environ["HF_TOKEN"]
        if self.leak == "engine":
            serve = spec.serve.model_copy(update={"env": {**spec.serve.env, "HF_TOKEN": token}})
            spec = DeploymentSpec(**{**{f: getattr(spec, f) for f in _FIELDS}, "serve": serve})
        deployment = super().up(spec)
        found = self.client.containers.get(deployment.handle)
        self._note("container.json", json.dumps(found.attrs))
        networks = self.client.networks.list(filters={"label": "levelbench"})
        self._note("networks.json", json.dumps([network.attrs for network in networks]))
        engine = psutil.Process(found.attrs["State"]["Pid"])
        processes = [engine, *engine.children(recursive=True)]
        self._note("processes.json", json.dumps([[p.cmdline(), p.environ()] for p in processes]))
        return deployment

    def _note(self, name: str, text: str) -> None:
        (self.notes / name).write_text(text)


_FIELDS = (
    "name",
    "image",
    "serve",
    "model_folder",
    "weights_dir",
    "log_path",
    "steps",
    "gpus",
    "cpus",
    "port",
)


def nothing_stands_in_the_way(*_: object) -> tuple[Finding, ...]:
    """The catalogue's model would take 16 GB; the one that the fake hub has for it takes one."""
    return ()


if __name__ == "__main__":
    NotingRuntime.notes, NotingRuntime.leak = Path(sys.argv[1]), sys.argv[2]
    vars(choice)["DockerRuntime"] = NotingRuntime
    vars(preflight)["check_plan"] = nothing_stands_in_the_way
    sys.argv = ["levelbench", *sys.argv[4:]]
    main()
