"""MLC-LLM 0.20 out of MLC's own wheels (reference/backends-current.md, section 5)."""

from __future__ import annotations

from backends.contract import Dialect, Profile, RequestField, RequestSpec, Setting, Setup, fields, matched
from backends.mlc_llm.compiled import Compiled
from backends.mlc_llm.releases import WHEELS_RELEASE
from backends.mlc_llm.settings import (
    ALIKE,
    ARTICLE,
    PUBLISHED_BATCH,
    RAN,
    of_mlc,
    sampling_of_model,
    switching,
)

RELEASE = WHEELS_RELEASE
_OLD_INDEX = "ndarray-cache.json"


class Wheels(Compiled):
    title = "MLC-LLM 0.20"
    releases = (RELEASE,)
    lists = "0.20.0"
    index = "tensor-cache.json"

    def serving(self, setup: Setup) -> tuple[Setting, ...]:
        off = switching(setup, "--prefix-cache-mode", "disable")
        if setup.profile is Profile.PUBLISHED:
            ran = ("--mode", "server", "--overrides", f"max_num_sequence={PUBLISHED_BATCH}")
            return (Setting(words=ran, reason=f"{RAN}, in today's settings", source=ARTICLE), *off)
        if setup.profile is Profile.MATCHED:
            alike = matched(setup)
            told = (
                f"max_num_sequence={alike.max_sequences};max_total_seq_length={alike.kv_tokens};"
                f"context_window_size={alike.sequence_tokens}"
            )
            return (Setting(words=("--mode", "server", "--overrides", told), reason=ALIKE), *off)
        return off

    def links(self, setup: Setup) -> tuple[str, ...]:
        """Weights of 2024 have the index under its old name. MLC put the same shards' index beside it under
        the new name in repositories of its own (mlc-ai/gpt2-q0f16-MLC): only the name has changed. Where
        {model} has the new one, the first link brings it and the last finds it there."""
        if of_mlc(setup):
            return (".={model}", f"{self.index}={{model}}/{_OLD_INDEX}")
        return (".={step:convert}", ".={step:config}")

    def request(self, setup: Setup) -> RequestSpec:
        """Only its debug mode can ignore an end."""
        told = fields(self.requesting(setup))
        return RequestSpec(dialect=Dialect.OPENAI_CHAT, refused=(RequestField.IGNORE_EOS,), fields=told)

    def requesting(self, setup: Setup) -> tuple[Setting, ...]:
        return sampling_of_model() if setup.profile is Profile.PUBLISHED else ()
