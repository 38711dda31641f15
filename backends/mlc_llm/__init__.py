"""MLC-LLM: weights converted, a configuration generated, a model library compiled, then served.

The article's nightly exists as a commit only and is built from it; today's wheels lie on MLC's own page.
"""

from __future__ import annotations

from collections.abc import Mapping

from backends.contract import IN_PROCESS, Backend, ByRelease, Column, Printed
from backends.mlc_llm import nightly, wheels


class MlcLlm(ByRelease):
    name = "mlc-llm"
    title = "MLC-LLM"
    held = IN_PROCESS
    printed = Printed(
        quantization="3 and 4 bits in groups; AWQ experimental",
        hardware="CUDA, ROCm, Metal, Android, iOS, WebGPU",
        releases="nightlies only",
        compile_step="compile, and convert the weights",
        effort="steeper",
        differs={
            Column.QUANTIZATION: "this commit has FP8 too",
            Column.HARDWARE: "Vulkan and OpenCL are there too",
        },
    )
    releases = (nightly.RELEASE, wheels.RELEASE)
    of: Mapping[str, Backend] = {nightly.RELEASE.id: nightly.Nightly(), wheels.RELEASE.id: wheels.Wheels()}
