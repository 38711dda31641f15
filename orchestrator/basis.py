"""What the cells of a deployment rest on: known before the engine is started, and held against earlier cells."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.artifacts import Artifact
from orchestrator.domain import content
from orchestrator.domain.cell import Cell
from orchestrator.domain.content import Content
from orchestrator.domain.plan import GroupPlan
from orchestrator.domain.provenance import CpuSets, Host
from orchestrator.domain.result import METHOD, StepRecord
from orchestrator.load.draw import Draw
from orchestrator.report.records import State, Stored
from orchestrator.runtime.interface import DeploymentSpec, Rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """Everything that goes into a deployment. `steps` are the weights' record and those of all steps."""

    plan: GroupPlan
    host: Host
    spec: DeploymentSpec
    cpus: CpuSets
    rendered: Rendered
    weights: Artifact
    steps: tuple[StepRecord, ...]
    draw: Draw

    def content(self, cell: Cell) -> Content:
        return Content(
            method=METHOD,
            image=self.spec.image.digest,
            argv=self.rendered.argv,
            env=self.rendered.env,
            files=content.files(self.spec.serve),
            steps={record.id: record.key for record in self.steps},
            weights=self.weights.digest,
            prompts=self.draw.prompts.digest,
            requests=content.requests(self.plan.request),
            workload=content.workload(cell),
            hardware=content.hardware(self.host),
            gpus=self.spec.gpus,
            cpus=content.cpus(self.cpus),
        )

    def against(self, cell: Cell, stored: Stored) -> tuple[str, ...]:
        """Why what is stored of a cell does not count; nothing where it does. A cell that failed has no figures
        that could rest on anything: it stays as it ended."""
        if stored.result is None:
            return (stored.reason,)
        if stored.state is State.COMPLETE and stored.result.failure is not None:
            return ()
        return content.differences(stored.result.content, self.content(cell))
