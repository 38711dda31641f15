"""TensorRT-LLM: in June 2024 engines built ahead and served by Triton, today `trtllm-serve` on PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract import GRPC, Backend, ByRelease, Column, Printed
from backends.tensorrt_llm import serve, triton


class TensorrtLlm(ByRelease):
    name = "tensorrt-llm"
    title = "TensorRT-LLM"
    held = GRPC
    printed = Printed(
        quantization="by modelopt; not every model",
        hardware="CUDA only",
        releases="stable ones",
        compile_step="an engine is built",
        effort="the hardest: convert, build, write Triton's files",
        differs={
            Column.QUANTIZATION: "0.9.0's quantize.py imports ammo, as modelopt was called then; weight-only INT8 and INT4 need no such tool",
        },
    )
    releases = (triton.RELEASE, serve.RELEASE)
    of: Mapping[str, Backend] = {triton.RELEASE.id: triton.Triton(), serve.RELEASE.id: serve.Serve()}
