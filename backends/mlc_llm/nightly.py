"""MLC-LLM 0.1.dev1251 = commit edc434d0, built from source (reference/backends-2024.md, section 6)."""

from __future__ import annotations

from backends.contract import (
    Build,
    Dialect,
    ImageSpec,
    Profile,
    RequestField,
    RequestSpec,
    Setting,
    Setup,
    Source,
    Template,
    fields,
    matched,
)
from backends.mlc_llm.compiled import Compiled
from backends.mlc_llm.releases import NIGHTLY_RELEASE
from backends.mlc_llm.settings import ALIKE, ARTICLE, RAN, of_mlc, sampling_of_model, switching

RELEASE = NIGHTLY_RELEASE


class Nightly(Compiled):
    title = "MLC-LLM 0.1.dev1251"
    releases = (RELEASE,)
    lists = "0.1.dev1251"
    index = "ndarray-cache.json"

    def image(self, build: Build) -> ImageSpec:
        template = "mlc-llm-source.Dockerfile.j2"
        return ImageSpec(name=self.name, release=build.release, template=template, build=build)

    def serving(self, setup: Setup) -> tuple[Setting, ...]:
        off = switching(setup, "--prefix-cache-max-num-seqs", "0")
        if setup.profile is Profile.PUBLISHED:
            return (Setting(words=("--mode", "server"), reason=RAN, source=ARTICLE), *off)
        if setup.profile is Profile.MATCHED:
            alike = matched(setup)
            size, budget = str(alike.max_sequences), str(alike.kv_tokens)
            same = ("--mode", "server", "--max-batch-size", size, "--max-total-seq-length", budget)
            return (Setting(words=same, reason=ALIKE), *_context(setup), *off)
        return off

    def links(self, setup: Setup) -> tuple[str, ...]:
        return () if of_mlc(setup) else (".={step:convert}", ".={step:config}")

    def request(self, setup: Setup) -> RequestSpec:
        """`published` chats, with the template of this commit as the article had it: without <|eot_id|>, and
        with a system message of its own. The other profiles send the tokens that every engine gets."""
        told = fields(self.requesting(setup))
        if setup.profile is Profile.PUBLISHED:
            return RequestSpec(dialect=Dialect.OPENAI_CHAT, refused=(RequestField.USAGE,), fields=told)
        return RequestSpec(
            dialect=Dialect.OPENAI_COMPLETIONS,
            template=Template.TOKENS,
            refused=(RequestField.USAGE,),
            fields=told,
        )

    def requesting(self, setup: Setup) -> tuple[Setting, ...]:
        ends = ("stop", ["<|eot_id|>", "<|end_of_text|>"])
        if setup.profile is Profile.PUBLISHED:
            return (Setting(field=ends, reason=RAN, source=ARTICLE), *sampling_of_model())
        why = "this commit's completions know no end of their own"
        source = Source(text="https://github.com/mlc-ai/mlc-llm/pull/2534")
        return (Setting(field=ends, reason=why, source=source),)


def _context(setup: Setup) -> tuple[Setting, ...]:
    """A library for less context than the configuration names is refused (cpp/serve/config.cc:424-430)."""
    if not of_mlc(setup):
        return ()
    wanted = f"a sequence cap of {matched(setup).sequence_tokens} tokens"
    why = "it stands in the configuration that comes with weights in MLC's format, and no flag changes it"
    return (Setting(unmet=wanted, reason=why),)
