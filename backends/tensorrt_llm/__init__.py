"""TensorRT-LLM: in June 2024 engines built ahead and served by Triton, today `trtllm-serve` on PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract import GRPC, Backend, ByRelease
from backends.tensorrt_llm import serve, triton


class TensorrtLlm(ByRelease):
    name = "tensorrt-llm"
    title = "TensorRT-LLM"
    held = GRPC
    releases = (triton.RELEASE, serve.RELEASE)
    of: Mapping[str, Backend] = {triton.RELEASE.id: triton.Triton(), serve.RELEASE.id: serve.Serve()}
