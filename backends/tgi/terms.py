"""What differs between TGI's releases when they are started, asked and read, and what they both say."""

from __future__ import annotations

from backends.contract import (
    Dialect,
    FailureCause,
    FailureSignature,
    Gauge,
    MetricsMap,
    PrefixCache,
    Readback,
    RequestField,
    RequestSpec,
    Setting,
    Source,
    Template,
    Value,
)


class Terms(Value):
    """`options` names the list of flags; `sampled` are the fields that the published service's requests had
    by their route's own defaults."""

    options: str
    env: dict[str, str]
    cache: PrefixCache
    request: RequestSpec
    sampled: tuple[Setting, ...]
    readbacks: tuple[Readback, ...]
    stop_s: float


_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_SERVICE = Source(text="bentoml/BentoTGI at db84f9b: chat.completions.create without a temperature")
_DRAWN = "the chat route of the article's service draws at temperature 1 unless told otherwise"
_LIMITS = tuple(
    Readback(name=name, pattern=rf'"{name}":\s*"?([\w.]+)', path="/info")
    for name in ("version", "max_concurrent_requests", "max_total_tokens")
)
_KV_POOL = Readback(name="kv_tokens", pattern=r"Setting max batch total tokens to (\d+)")

TERMS = {
    "2024-06": Terms(
        options="tgi-2.0.4",
        env={**_OFFLINE, "HUGGINGFACE_HUB_CACHE": "/cache/hub"},
        cache=PrefixCache(default_on=None),
        # One event a token: the route with exact counts. The text goes without begin-of-text, which TGI adds
        request=RequestSpec(
            dialect=Dialect.GENERATE_STREAM, template=Template.TEXT, refused=(RequestField.IGNORE_EOS,)
        ),
        sampled=(
            Setting(
                field=("parameters", {"do_sample": True, "temperature": 1.0}), reason=_DRAWN, source=_SERVICE
            ),
        ),
        readbacks=(
            *_LIMITS,
            _KV_POOL,
            Readback(name="dtype", pattern=r'"model_dtype":\s*"torch\.(\w+)', path="/info"),
        ),
        stop_s=60.0,
    ),
    "current": Terms(
        options="tgi-3.3.7",
        env={**_OFFLINE, "HF_HOME": "/cache/huggingface", "USAGE_STATS": "off"},
        cache=PrefixCache(default_on=True),
        # A top_p of 1, which means "off" everywhere else, is refused with 422
        request=RequestSpec(
            dialect=Dialect.OPENAI_CHAT, refused=(RequestField.IGNORE_EOS, RequestField.TOP_P)
        ),
        sampled=(Setting(field=("temperature", 1.0), reason=_DRAWN, source=_SERVICE),),
        readbacks=(
            *_LIMITS,
            _KV_POOL,
            Readback(name="attention", pattern=r"Using attention (\w+)"),
            Readback(name="prefix_caching", pattern=r"Prefix caching (\w+)"),
        ),
        stop_s=100.0,  # the launcher gives its router 90 s
    ),
}

METRICS = MetricsMap(
    path="/metrics",
    names={Gauge.RUNNING: "tgi_batch_current_size", Gauge.WAITING: "tgi_queue_size"},
)

FAILURES = tuple(
    FailureSignature(pattern=p, cause=c, hint=h)
    for p, c, h in (
        (
            r"Not enough memory to handle|must be <= `max_batch_total_tokens`|NotEnoughMemory",
            FailureCause.MEMORY_KV_CACHE,
            "the warm-up found no room for one full batch: lower the sequence length, or free memory",
        ),
        (
            r"Unsupported model type|is not supported for AutoModel",
            FailureCause.UNSUPPORTED_ARCHITECTURE,
            "this release cannot run the model: take another model or engine",
        ),
        (
            (
                r"error: unexpected argument|error: invalid value|error: the argument|Only 1 can be set between"
                r"|ArgumentValidation"
            ),
            FailureCause.BAD_FLAG,
            "the launcher refused its arguments; see the log",
        ),
        (
            r"requires a GPU with CUDA capability|GPU with CUDA capability .* is not supported",
            FailureCause.BAD_FLAG,
            "the weights' compression needs a newer GPU: take another model",
        ),
        (
            (
                r"No local weights found|not found in the local cache|No safetensors weights found"
                r"|does not appear to have a file named"
            ),
            FailureCause.MODEL_FILES,
            "the model's files are missing or broken; remove its folder in the cache and try again",
        ),
        (
            r"NCCL.* Error while creating shared memory|unable to (open|allocate) shared memory",
            FailureCause.SHARED_MEMORY,
            "the engine needs a larger /dev/shm",
        ),
    )
)
