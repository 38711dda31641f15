"""Which prompts the requests of a deployment carry, and their JSON bodies. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from backends.contract import RequestSpec
from orchestrator.catalog.prompts import PromptSet
from orchestrator.domain.cell import Load
from orchestrator.domain.workload import Sampling, SystemPrompt
from orchestrator.load.dialects import body


@dataclass(slots=True)
class Draw:
    """Prompts in one seeded order, drawn without replacement across the loads of a deployment, so that
    a prefix cache is not fed its own past while fresh ones are left. `at` is how many have been drawn."""

    prompts: PromptSet
    system: str
    request: RequestSpec
    served_name: str
    sampling: Sampling
    seed: int
    at: int = 0

    def bodies(self, load: Load, *, max_tokens: int | None = None) -> tuple[bytes, ...]:
        """One body per prompt, beginning with the next fresh one; drawing goes round at the end."""
        system = self.system if load.system_prompt is SystemPrompt.WITH else None
        limit = self.sampling.max_tokens if max_tokens is None else min(max_tokens, self.sampling.max_tokens)
        sampling = self.sampling.model_copy(update={"max_tokens": limit})
        count = len(self.prompts.texts)
        order = list(islice(self.prompts.order(self.seed), count))
        first = self.at % count
        return tuple(
            body(self.request, self.served_name, self.prompts.texts[i], system, sampling)
            for i in (*order[first:], *order[:first])
        )

    def drawn(self, requests: int) -> None:
        """Say how many requests have been sent."""
        self.at += requests
