"""Which prompts the requests of a deployment carry, and their JSON bodies. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, islice

from backends.contract import RequestField, RequestSpec, Template
from orchestrator.catalog.chat_template import ChatTemplate, Rendered
from orchestrator.catalog.prompts import PromptSet
from orchestrator.domain.canary import PROMPTS
from orchestrator.domain.cell import Load
from orchestrator.domain.workload import Sampling, SystemPrompt
from orchestrator.errors import CellError
from orchestrator.load.dialects import body, carries, conversations, templates


@dataclass(frozen=True, slots=True)
class Drawn:
    """How many prompts (sessions of several) a load has sent, how many had been sent before it, and how many there
    are."""

    count: int
    before: int
    of: int

    @property
    def again(self) -> int:
        """Those of them that had been sent already: a prefix cache may know them."""
        return max(0, min(self.count, self.before + self.count - self.of))


@dataclass(slots=True)
class Draw:
    """Prompts in one seeded order, drawn without replacement across the loads of a deployment, so that
    a prefix cache is not fed its own past while fresh ones are left; with `reuse` every load begins anew.
    `encode` is the model's tokenizer, without special tokens; None where there is none. `at` is how many prompts, or sessions of several, have been drawn.

    `chat` renders the prompts where the request's template says so, and tells how long they are where the
    engine renders; None where the model has no template and the engine sees to that.
    """

    prompts: PromptSet
    system: str
    request: RequestSpec
    served_name: str
    sampling: Sampling
    seed: int
    chat: ChatTemplate | None = None
    reuse: bool = False
    encode: Callable[[str], Sequence[int]] | None = None
    at: int = 0
    _rendered: dict[str | None, tuple[Rendered, ...] | None] = field(default_factory=dict)

    def bodies(self, load: Load, *, max_tokens: int | None = None) -> tuple[bytes, ...]:
        """One body per prompt, beginning with the next fresh one; drawing goes round at the end."""
        self._require_turns(load)
        return tuple(self._body(i, load, max_tokens) for i in self._order())

    def canaries(self, load: Load, *, max_tokens: int | None = None) -> tuple[bytes, ...]:
        """A few prompts of the set, always the same, as requests without chance; none where a release cannot be
        told so."""
        if not carries(self.request, RequestField.TEMPERATURE):
            return ()
        greedy = replace(self, sampling=self.sampling.model_copy(update={"temperature": 0.0, "top_p": 1.0}))
        firsts = [session[0] for session in self.prompts.sessions[:PROMPTS]]
        return tuple(greedy._body(i, load, max_tokens) for i in firsts)  # noqa: SLF001 - our own

    def prompt_tokens(self, load: Load) -> tuple[int | None, ...]:
        """How long each prompt must be by the engine's own count, in the order of `bodies`; None where it
        sees another text than the model's template makes, or there is none."""
        by_engine = Template.TEXT not in templates(self.request.dialect)
        found = self._all(load) if self._renders or by_engine else None
        return tuple(None if found is None else len(found[i].tokens) for i in self._order())

    @property
    def turns(self) -> tuple[int, ...]:
        """How many neighbouring bodies belong to each session, in the order of `bodies`; empty where each
        stands alone."""
        sessions = self.prompts.sessions
        return tuple(len(sessions[i]) for i in self._drawing()) if self.prompts.turns else ()

    @property
    def times_s(self) -> tuple[float, ...]:
        """When each of `bodies` came in the trace that it is from; empty where there is none."""
        return tuple(self.prompts.times_s[i] for i in self._order()) if self.prompts.times_s else ()

    def drawn(self, positions: Iterable[int]) -> Drawn:
        """Say which of `bodies` have been sent: a session counts once, with its first turn."""
        counts = self.turns or (1,) * len(self.prompts.prompts)
        first = {0, *accumulate(counts)}
        found = Drawn(sum(position in first for position in positions), self.at, len(self.prompts.sessions))
        if not self.reuse:
            self.at += found.count
        return found

    @property
    def _renders(self) -> bool:
        return self.request.template is not Template.MESSAGES

    def _system(self, load: Load) -> str | None:
        return self.system if load.system_prompt is SystemPrompt.WITH else None

    def _order(self) -> tuple[int, ...]:
        """Every prompt, the sessions as they are drawn."""
        sessions = self.prompts.sessions
        return tuple(prompt for i in self._drawing() for prompt in sessions[i])

    def _drawing(self) -> tuple[int, ...]:
        count = len(self.prompts.sessions)
        order = list(islice(self.prompts.order(self.seed), count))
        first = self.at % count
        return (*order[first:], *order[:first])

    def _body(self, index: int, load: Load, max_tokens: int | None) -> bytes:
        prompt = self.prompts.prompts[index]
        limit = prompt.output_tokens or self.sampling.max_tokens
        if max_tokens is not None:
            limit = min(limit, max_tokens)
        return body(
            self.request,
            self.served_name,
            self._prompt(index, load),
            None if self._renders else self._system(load),
            self.sampling.model_copy(update={"max_tokens": limit}),
            () if self._renders else prompt.history,
        )

    def _require_turns(self, load: Load) -> None:
        """CellError where the prompts say what a request cannot hold."""
        histories = [prompt.history for prompt in self.prompts.prompts if prompt.history]
        if histories and not self._renders and not conversations(self.request.dialect):
            raise CellError(
                f"{self.prompts.name} has conversations, and {self.request.dialect.value} holds a single turn",
                hint="take a dialect with messages, such as openai-chat, or prompts of one turn",
            )
        if self._system(load) and any(h[0].role == "system" for h in histories):
            raise CellError(
                f"{self.prompts.name} has system prompts of its own", hint="measure it without the common one"
            )

    def _prompt(self, index: int, load: Load) -> str | Sequence[int]:
        if not self._renders:
            return self.prompts.prompts[index].text
        found = self._all(load)
        if found is None:
            raise CellError("the prompts are to be rendered, and there is no chat template")
        return _form(found[index], self.request.template)

    def _all(self, load: Load) -> tuple[Rendered, ...] | None:
        """Every prompt as the model's template renders it, once per system prompt; None without template,
        or where it refuses and the engine, which renders, will say so itself."""
        system = self._system(load)
        if system not in self._rendered and self.chat is not None:
            try:
                self._rendered[system] = self.chat.render(self.prompts.prompts, system)
            except CellError:
                if self._renders:
                    raise
                self._rendered[system] = None
        return self._rendered.get(system)


def _form(rendered: Rendered, template: Template) -> str | Sequence[int]:
    forms: dict[Template, str | Sequence[int]] = {
        Template.TEXT: rendered.text,
        Template.TEXT_WITH_BOS: rendered.text_with_bos,
        Template.TOKENS: rendered.tokens,
    }
    return forms[template]
