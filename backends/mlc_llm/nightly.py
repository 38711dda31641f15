"""MLC-LLM 0.1.dev1251 = commit edc434d0, built from source (reference/backends-2024.md, section 6)."""

from __future__ import annotations

from backends.contract import (
    Build,
    Dialect,
    ImageSpec,
    PrefixCaching,
    Profile,
    RequestField,
    RequestSpec,
    Setting,
    Setup,
    Source,
    Template,
    entries,
)
from backends.mlc_llm.compiled import Compiled
from backends.mlc_llm.releases import NIGHTLY_RELEASE
from backends.mlc_llm.settings import ALIKE, ARTICLE, RAN, SAME, of_mlc

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
        found: list[Setting] = []
        if setup.profile is Profile.PUBLISHED:
            found.append(Setting(words=("--mode", "server"), reason=RAN, source=ARTICLE))
        if setup.profile is Profile.MATCHED:
            sizes = (
                "--max-batch-size",
                str(SAME.max_sequences),
                "--max-total-seq-length",
                str(SAME.kv_tokens),
            )
            found.append(Setting(words=("--mode", "server", *sizes), reason=ALIKE))
        if setup.prefix_caching is PrefixCaching.OFF:
            none = ("--prefix-cache-max-num-seqs", "0")
            found.append(Setting(words=none, reason="prefix caching off, as asked"))
        return tuple(found)

    def links(self, setup: Setup) -> tuple[str, ...]:
        return () if of_mlc(setup) else (".={step:convert}", ".={step:config}")

    def request(self, setup: Setup) -> RequestSpec:
        """`published` chats, with the template of this commit as the article had it: without <|eot_id|>, and
        with a system message of its own. The other profiles send the tokens that every engine gets."""
        fields = entries(self.requesting(setup))
        if setup.profile is Profile.PUBLISHED:
            return RequestSpec(dialect=Dialect.OPENAI_CHAT, refused=(RequestField.USAGE,), fields=fields)
        return RequestSpec(
            dialect=Dialect.OPENAI_COMPLETIONS,
            template=Template.TOKENS,
            refused=(RequestField.USAGE,),
            fields=fields,
        )

    def requesting(self, setup: Setup) -> tuple[Setting, ...]:
        ends = ["<|eot_id|>", "<|end_of_text|>"]
        if setup.profile is not Profile.PUBLISHED:
            why = "this commit's completions know no end of their own (fixed by #2534)"
            return (Setting(entry=("stop", ends), reason=why),)
        sampling = {"temperature": 0.6, "top_p": 0.9}
        of_model = "profile published: the model's own sampling, since the service sent none"
        stops = Setting(entry=("stop", ends), reason=RAN, source=ARTICLE)
        source = Source(text="generation_config.json of Meta-Llama-3-8B-Instruct", verified=False)
        told = [Setting(entry=(name, v), reason=of_model, source=source) for name, v in sampling.items()]
        return (*told, stops)
