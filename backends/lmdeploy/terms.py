"""What differs between LMDeploy's releases when they are started, asked and read, and what they both say."""

from __future__ import annotations

from backends.contract import (
    Dialect,
    FailureCause,
    FailureSignature,
    Gauge,
    MetricsMap,
    PrefixCache,
    Readback,
    ReadySpec,
    RequestField,
    Setting,
    Source,
    Value,
)


class Terms(Value):
    """`options` names the list of flags. `kv_flag` takes a number of blocks and `dtype_flag` a dtype: None
    where there is none. `template_by_folder`: the chat template goes by the name of the weights' folder.
    `always` are settings of each profile."""

    options: str
    always: tuple[Setting, ...]
    dtype_flag: str | None = None
    kv_flag: str | None = None
    template_by_folder: bool = False
    cache: PrefixCache
    dialect: Dialect
    refused: tuple[RequestField, ...] = ()
    ready: ReadySpec
    metrics: MetricsMap | None = None
    readbacks: tuple[Readback, ...]
    ulimits: dict[str, int] = {}  # noqa: RUF012 - pydantic copies a default


_NAMED = Setting(
    words=("--backend", "turbomind"),
    reason="the engine's default, named because it falls back to PyTorch without a word",
    source=Source(text="lmdeploy/archs.py autoget_backend"),
)
_ALL_TOKENS = Setting(
    field=("top_k", 0),
    reason="requests state temperature and top_p; the engine's own top_k (0.4.0: 40, today: 50) would cut "
    "the tail of the distribution and shorten answers",
    source=Source(text="lmdeploy/serve/openai/protocol.py, messages.py; 0 skips that filter in the kernels"),
)
_WARNINGS = Setting(
    words=("--log-level", "WARNING"),
    reason="by default it prints errors only, and its settings in force could not be read back",
    source=Source(text="LMDeploy v0.4.0 lmdeploy/turbomind/turbomind.py:290"),
)

TERMS = {
    "2024-06": Terms(
        options="lmdeploy-0.4.0",
        always=(_NAMED, _WARNINGS, _ALL_TOKENS),
        kv_flag="--cache-max-entry-count",  # below 1 a share of free memory, else a number of blocks
        template_by_folder=True,
        cache=PrefixCache(default_on=None),
        dialect=Dialect.JSON_LINES,  # the one route with exact counts: OpenAI streams have no usage
        refused=(RequestField.SEED,),
        # It lives on when a thread has failed to get memory
        ready=ReadySpec(
            health_path="/v1/models", deadline_s=1800, fatal=(r"CUDA runtime error: out of memory",)
        ),
        readbacks=(
            Readback(name="weight_type", pattern=r"weight_type = (\w+)"),
            Readback(name="max_batch_size", pattern=r"max_batch_size = (\d+)"),
            Readback(name="kv_pool", pattern=r"cache_max_entry_count = ([\d.]+)"),
            Readback(name="max_sequence_tokens", pattern=r"session_len = (\d+)"),
            Readback(name="engine", pattern=r"Fallback to (pytorch) engine"),
        ),
        ulimits={"memlock": -1, "stack": 67_108_864},  # what its base, Triton's image, asks for
    ),
    "current": Terms(
        options="lmdeploy-0.18.0",
        always=(_NAMED, _ALL_TOKENS),
        dtype_flag="--dtype",
        cache=PrefixCache(default_on=False),
        dialect=Dialect.OPENAI_CHAT,
        ready=ReadySpec(health_path="/health", deadline_s=1800),
        # Gauges refresh every 10 s only (serve/openai/api_server.py:228-239); counters are live
        metrics=MetricsMap(
            path="/metrics",
            names={
                Gauge.RUNNING: "lmdeploy:num_requests_running",
                Gauge.WAITING: "lmdeploy:num_requests_waiting",
                Gauge.KV_USE: "lmdeploy:gpu_cache_usage_perc",
                Gauge.GENERATED_TOKENS: "lmdeploy:generation_tokens_total",
                Gauge.PROMPT_TOKENS: "lmdeploy:prompt_tokens_total",
            },
        ),
        # Its settings are logged at a level that would also log every request: only the fallback shows
        readbacks=(Readback(name="engine", pattern=r"Fallback to (pytorch) engine"),),
    ),
}

FAILURES = tuple(
    FailureSignature(pattern=p, cause=c, hint=h)
    for p, c, h in (
        (
            r"Please set model_name for",
            FailureCause.MODEL_FILES,
            "0.4.0 knows a chat template by the weights' folder: its name must contain llama-3-",
        ),
        (
            (
                r"(?s)create_model_instance.{0,2000}CUDA runtime error: out of memory"
                r"|No enough blocks\.|Check failed: .*cache_(ratio|bytes)"
            ),
            FailureCause.MEMORY_KV_CACHE,
            "no room for the KV cache: lower --cache-max-entry-count or --session-len, or free memory",
        ),
        (
            r"CUDA runtime error: out of memory",
            FailureCause.MEMORY_WEIGHTS,
            "the weights do not fit: take a smaller or a quantised model, or free memory",
        ),
        (
            r"turbomind does not support|Could not find model architecture",
            FailureCause.UNSUPPORTED_ARCHITECTURE,
            "this release cannot run the model: take RELEASE=current, or another model",
        ),
        (
            (
                r"vs model quant_config|Unsupported group_size|unknown model_format|only supports pack-quantized"
                r"|no executable data type for this device|no GEMM kernel accepts|is not built with ENABLE_BF16"
            ),
            FailureCause.BAD_FLAG,
            "dtype, quantisation and GPU do not go together; take another model or RELEASE=current",
        ),
        (
            (
                r"Failed to find valid checkpoint|no checkpoint tensors found|can't find model from local_path"
                r"|does not appear to have a file named"
            ),
            FailureCause.MODEL_FILES,
            "the model's files are missing or broken; remove its folder in the cache and try again",
        ),
    )
)
