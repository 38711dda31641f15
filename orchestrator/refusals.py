"""Why a backend cannot serve a workload on a host, in words, with what could be had instead. Pure."""

from __future__ import annotations

from backends.contract import Backend, Build, PrefixCaching, Refusal, RequestField, Setup
from orchestrator.domain.cell import RuntimeChoice
from orchestrator.domain.workload import Workload
from orchestrator.load.dialects import carries


def refusal(runtime: RuntimeChoice, backend: Backend, setup: Setup, workload: Workload) -> Refusal | None:
    """The first reason why a backend cannot serve what it was set up for, or None."""
    return (
        _unreachable(runtime, setup.build)
        or backend.supports(setup)
        or _too_large(setup)
        or _no_prefix_switch(backend, setup)
        or _no_fixed_lengths(backend, setup, workload)
        or _no_cut_tail(backend, setup, workload)
    )


def _unreachable(runtime: RuntimeChoice, build: Build) -> Refusal | None:
    """Why a build cannot be had in the runtime that was asked for."""
    if runtime is RuntimeChoice.PROCESS and not build.packages:
        reason = f"{build.version} comes as an image only, and no process can run it"
        return Refusal(reason=reason, alternative="RUNTIME=docker")
    return None


def _too_large(setup: Setup) -> Refusal | None:
    """Weights that alone fill the GPU leave no room for a single token's KV cache."""
    model, memory_bytes = setup.model, setup.host.gpu_memory_bytes
    if memory_bytes is None or model.served_bytes < memory_bytes:
        return None
    held, there = model.served_bytes / 1e9, memory_bytes / 1e9
    return Refusal(
        reason=f"{model.id} takes {held:.0f} GB of the GPU's {there:.0f} GB",
        alternative="a smaller or a quantised model",
    )


def _no_prefix_switch(backend: Backend, setup: Setup) -> Refusal | None:
    asked, cache = setup.prefix_caching, backend.prefix_cache(setup.build)
    if asked is PrefixCaching.PROFILE or (cache.default_on is not None and cache.can_switch):
        return None
    if cache.default_on is None:
        if asked is PrefixCaching.OFF:
            return None
        return Refusal(reason=f"{setup.build.version} has no prefix cache", alternative="PREFIX_CACHE=off")
    if cache.default_on is (asked is PrefixCaching.ON):
        return None
    return Refusal(reason=f"{setup.build.version} cannot switch its prefix cache {asked.value}")


def _no_fixed_lengths(backend: Backend, setup: Setup, workload: Workload) -> Refusal | None:
    if not workload.sampling.ignore_eos or carries(backend.request(setup), RequestField.IGNORE_EOS):
        return None
    reason = f"{setup.build.version} cannot be told to ignore the end of an answer, as {workload.id} asks"
    return Refusal(reason=reason, alternative="a workload with natural lengths")


def _no_cut_tail(backend: Backend, setup: Setup, workload: Workload) -> Refusal | None:
    """A top_p of 1 cuts nothing: a release that is not told it does the same."""
    if workload.sampling.top_p == 1 or RequestField.TOP_P not in backend.request(setup).refused:
        return None
    reason = f"{setup.build.version} is not told a top_p, and {workload.id} asks for one"
    return Refusal(reason=reason, alternative="a workload with top_p 1")
