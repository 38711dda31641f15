"""MLC-LLM 0.20 out of MLC's own wheels (reference/backends-current.md, section 5)."""

from __future__ import annotations

from backends.contract import (
    Dialect,
    PrefixCaching,
    Profile,
    RequestField,
    RequestSpec,
    Setting,
    Setup,
    Source,
    entries,
)
from backends.mlc_llm.compiled import Compiled
from backends.mlc_llm.releases import WHEELS_RELEASE
from backends.mlc_llm.settings import ALIKE, ARTICLE, PUBLISHED_BATCH, RAN, SAME, of_mlc

RELEASE = WHEELS_RELEASE
_OLD_INDEX = "ndarray-cache.json"


class Wheels(Compiled):
    title = "MLC-LLM 0.20"
    releases = (RELEASE,)
    lists = "0.20.0"
    index = "tensor-cache.json"

    def serving(self, setup: Setup) -> tuple[Setting, ...]:
        found: list[Setting] = []
        if setup.profile is Profile.PUBLISHED:
            ran = ("--mode", "server", "--overrides", f"max_num_sequence={PUBLISHED_BATCH}")
            found.append(Setting(words=ran, reason=f"{RAN}, in today's settings", source=ARTICLE))
        if setup.profile is Profile.MATCHED:
            told = (
                f"max_num_sequence={SAME.max_sequences};max_total_seq_length={SAME.kv_tokens};"
                f"context_window_size={SAME.sequence_tokens}"
            )
            found.append(Setting(words=("--mode", "server", "--overrides", told), reason=ALIKE))
        if setup.prefix_caching is PrefixCaching.OFF:
            none = ("--prefix-cache-mode", "disable")
            found.append(Setting(words=none, reason="prefix caching off, as asked"))
        return tuple(found)

    def links(self, setup: Setup) -> tuple[str, ...]:
        """Weights of 2024 have the index under its old name. MLC put the same shards' index beside it under
        the new name in repositories of its own (mlc-ai/gpt2-q0f16-MLC): only the name has changed. Where
        {model} has the new one, the first link brings it and the last finds it there."""
        if of_mlc(setup):
            return (".={model}", f"{self.index}={{model}}/{_OLD_INDEX}")
        return (".={step:convert}", ".={step:config}")

    def request(self, setup: Setup) -> RequestSpec:
        """Only its debug mode can ignore an end."""
        fields = entries(self.requesting(setup))
        return RequestSpec(dialect=Dialect.OPENAI_CHAT, refused=(RequestField.IGNORE_EOS,), fields=fields)

    def requesting(self, setup: Setup) -> tuple[Setting, ...]:
        if setup.profile is not Profile.PUBLISHED:
            return ()
        of_model = "profile published: the model's own sampling, since the service sent none"
        source = Source(text="generation_config.json of Meta-Llama-3-8B-Instruct", verified=False)
        sampling = {"temperature": 0.6, "top_p": 0.9}
        return tuple(Setting(entry=(name, v), reason=of_model, source=source) for name, v in sampling.items())
