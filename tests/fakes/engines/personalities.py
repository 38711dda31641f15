"""Which release of which engine behaves how: one entry for each, named `<backend> <release>`.

What is here was read in the engines' own sources (backends-2024.md, backends-current.md, cpu-engine.md).
A new release needs an entry here and nothing else. Standard library only: it runs in a bare container.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.fakes.engines.answers import Answer, Json, Openai, json_lines, tensor_events, token_events

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the engine itself would bind
Write = Callable[[Json], Answer]


@dataclass(frozen=True)
class Route:
    """An endpoint that streams. `known` are the fields that it takes where any other is a 400. `bos`: how
    often a rendered prompt must have begin-of-text for the model to see it once; None where messages are
    sent."""

    write: Write
    known: frozenset[str] | None = None
    bos: int | None = None


@dataclass(frozen=True)
class Personality:
    """`programs` are the words that start it, as an adapter's argv[0] or a path in the image. A flag may be
    spelled in several ways. `weights` is the flag before the weights' path; empty: the first word that is
    no flag, after `commands`. `loading` is what the health page answers while it loads; None: nothing
    listens yet. `lists` is what /v1/models names: "name", "path" or "" (no such page). `stranger` is the
    status for a model of another name; 0: it does not matter. `figures` are names on its page of figures.
    `needs` are files that must lie in the weights' folder, all placeholders filled in. `holds` are files of its
    image that a launch may name. `says` are lines of its log, `tells` the readbacks that these and its pages
    must give."""

    programs: tuple[str, ...]
    routes: dict[str, Route]
    host: tuple[str, ...] = ("--host",)
    port: tuple[str, ...] = ("--port",)
    name: tuple[str, ...] = ("--served-model-name",)
    weights: str = ""
    commands: tuple[str, ...] = ()
    default_host: str = EVERYWHERE
    default_port: int = 8000
    health: str = "/health"
    loading: int | None = None
    lists: str = "name"
    stranger: int = 404
    figures: tuple[str, ...] = ()
    figures_path: str = "/metrics"
    figures_port: tuple[str, int] | None = None
    pages: dict[str, str] = field(default_factory=dict)
    posts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("config.json",)
    holds: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()


def _both(habits: Openai, known: frozenset[str] | None = None, *, bos: int = 0) -> dict[str, Route]:
    return {
        "/v1/chat/completions": Route(habits.chat, known),
        "/v1/completions": Route(habits.completions, known, bos=bos),
    }


_ASKED = (
    "model messages prompt max_tokens temperature top_p seed stream stop ignore_eos min_tokens n top_k min_p"
    " stop_token_ids presence_penalty frequency_penalty repetition_penalty skip_special_tokens best_of"
)
_VLLM_2024 = frozenset(_ASKED.split())
_STRICT_NOW = _VLLM_2024 | {"stream_options", "max_completion_tokens", "add_special_tokens"}
_VLLM_FIGURES = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
)
_VLLM_NOW = Personality(
    programs=("vllm",),
    commands=("serve",),
    routes=_both(Openai()),
    figures=(*_VLLM_FIGURES, "vllm:kv_cache_usage_perc"),
    posts=("/reset_prefix_cache",),
    says=(
        (
            "INFO 11-24 [core.py:90] Initializing a V1 LLM engine with config: dtype=torch.float16, "
            "max_seq_len=2048, enable_prefix_caching=True, enable_chunked_prefill=True"
        ),
        "INFO 11-24 [kv_cache_utils.py:1000] GPU KV cache size: 32,768 tokens",
    ),
    tells=("kv_tokens", "dtype", "max_sequence_tokens", "prefix_caching", "chunked_prefill"),
)
_ALL_MODELS = "/opt/tensorrtllm_backend/all_models/inflight_batcher_llm"
_TRITON_CONFIG = {
    "name": "tensorrt_llm",
    "max_batch_size": 64,
    "parameters": {"enable_kv_cache_reuse": {"string_value": "true"}},
}
_TGI_INFO = {
    "model_id": "/model",
    "model_dtype": "torch.float16",
    "max_concurrent_requests": 128,
    "max_total_tokens": 4096,
    "max_batch_total_tokens": 80000,
}
_TGI_CHAT = Openai(first="", role_in_each=True, finish_with_token=True, whole_top_p=False, ignores_eos=False)
_TGI = Personality(
    programs=("text-generation-launcher",),
    routes={},
    host=("--hostname",),
    port=("--port", "-p"),
    name=(),
    weights="--model-id",
    default_port=3000,
    lists="",
    stranger=0,
    figures=("tgi_batch_current_size", "tgi_queue_size", "tgi_request_count"),
)
_MLC = Personality(
    programs=("mlc_llm",),
    commands=("serve",),
    routes={},
    name=(),
    default_host=LOOPBACK,
    health="/v1/models",
    lists="path",
    stranger=0,
    needs=("mlc-chat-config.json",),
    says=(
        (
            'The actual engine mode is "server". So max batch size is 80, max KV cache token capacity is 81920, '
            "prefill chunk size is 2048."
        ),
    ),
)

PERSONALITIES: dict[str, Personality] = {
    "vllm 2024-06": Personality(
        programs=("python3 -m vllm.entrypoints.openai.api_server",),
        weights="--model",
        routes=_both(Openai(usage="finish", finish_with_token=True), _VLLM_2024),
        figures=(*_VLLM_FIGURES, "vllm:gpu_cache_usage_perc"),
        pages={"/version": '{"version":"0.4.2"}'},
        says=(
            (
                "INFO 06-05 llm_engine.py:100] Initializing an LLM engine (v0.4.2) with config: "
                "dtype=torch.float16, max_seq_len=8192, quantization=None"
            ),
            "INFO 06-05 gpu_executor.py:81] # GPU blocks: 27881, # CPU blocks: 2048",
        ),
        tells=("dtype", "max_sequence_tokens"),
    ),
    "vllm current": _VLLM_NOW,
    "lmdeploy 2024-06": Personality(
        programs=("lmdeploy",),
        commands=("serve", "api_server"),
        host=("--server-name",),
        port=("--server-port",),
        name=("--model-name",),
        default_port=23333,
        health="/v1/models",
        stranger=200,
        routes={
            **_both(Openai(first="at-once", role_in_each=True, usage="", held_back="nothing")),
            "/v1/chat/interactive": Route(json_lines),
        },
        says=("[TM][INFO] weight_type = fp16, max_batch_size = 128", "cache_max_entry_count = 0.8"),
    ),
    "lmdeploy current": Personality(
        programs=("lmdeploy",),
        commands=("serve", "api_server"),
        host=("--server-name",),
        port=("--server-port",),
        name=("--model-name",),
        default_port=23333,
        routes=_both(Openai(first="", role_in_each=True, held_back="nothing")),
        figures=(
            "lmdeploy:num_requests_running",
            "lmdeploy:num_requests_waiting",
            "lmdeploy:gpu_cache_usage_perc",
            "lmdeploy:generation_tokens_total",
            "lmdeploy:prompt_tokens_total",
        ),
    ),
    "tgi 2024-06": replace(
        _TGI,
        routes={
            "/generate_stream": Route(token_events, bos=0),
            **_both(
                Openai(
                    first="", role_in_each=True, usage="", done=False, no_finish="", finish_with_token=True
                )
            ),
        },
        pages={"/info": json.dumps({**_TGI_INFO, "version": "2.0.4"}, indent=1)},
        tells=("version", "max_total_tokens"),
    ),
    "tgi current": replace(
        _TGI,
        routes={
            "/generate_stream": Route(token_events, bos=0),
            "/v1/chat/completions": Route(_TGI_CHAT.chat),
            "/v1/completions": Route(replace(_TGI_CHAT, usage="always", no_finish="").completions, bos=0),
        },
        pages={"/info": json.dumps({**_TGI_INFO, "version": "3.3.7"}, indent=1)},
        says=("INFO text_generation_launcher: Using attention flashinfer - Prefix caching true",),
        tells=("version", "max_total_tokens"),
    ),
    "tensorrt-llm 2024-06": Personality(
        programs=("mpirun",),
        host=("--http-address",),
        port=("--http-port",),
        name=(),
        weights="--model-repository",
        health="/v2/health/ready",
        loading=400,
        lists="",
        stranger=0,
        routes={"/v2/models/ensemble/generate_stream": Route(tensor_events, bos=1)},
        figures=(
            'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"}',
            'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"}',
            'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"}',
            'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="tensorrt_llm",version="1"}',
            'nv_inference_pending_request_count{model="ensemble",version="1"}',
        ),
        figures_port=("--metrics-port", 8002),
        needs=tuple(
            f"{model}/config.pbtxt"
            for model in ("preprocessing", "tensorrt_llm", "postprocessing", "ensemble")
        ),
        holds=tuple(f"{_ALL_MODELS}/{model}/1/model.py" for model in ("preprocessing", "postprocessing")),
        pages={"/v2/models/tensorrt_llm/config": json.dumps(_TRITON_CONFIG, separators=(",", ":"))},
        says=("[TensorRT-LLM][INFO] Max tokens in paged KV cache: 20480",),
    ),
    "tensorrt-llm current": Personality(
        programs=("trtllm-serve",),
        default_host=LOOPBACK,
        name=(),
        loading=503,
        lists="path",
        stranger=0,
        routes=_both(Openai(after=" "), _STRICT_NOW),
        says=("[TRT-LLM] [I] Max tokens in paged KV cache: 20480", "max_batch_size=2048"),
    ),
    "mlc-llm 2024-06": replace(
        _MLC,
        routes=_both(Openai(first="", usage="every", held_back="choices"), bos=1),
    ),
    "mlc-llm current": replace(
        _MLC,
        routes=_both(Openai(first="", held_back="nothing", ignores_eos=False), bos=1),
        pages={"/metrics": "engine_prefill_time_sum\t0.5\ncompletion_tokens_sum\t6\n"},
    ),
    "sglang current": Personality(
        programs=("python3 -m sglang.launch_server", "sglang"),
        weights="--model-path",
        default_host=LOOPBACK,
        default_port=30000,
        health="/ready",
        loading=503,
        stranger=0,
        routes=_both(Openai()),
        figures=(
            "sglang:num_running_reqs",
            "sglang:num_queue_reqs",
            "sglang:token_usage",
            "sglang:generation_tokens_total",
            "sglang:prompt_tokens_total",
        ),
        posts=("/flush_cache",),
        pages={"/server_info": json.dumps({"dtype": "float16", "attention_backend": "flashinfer"})},
        says=("max_total_num_tokens=200000, chunked_prefill_size=8192, max_running_requests=2048",),
    ),
    "llama-cpp current": Personality(
        programs=("python3 llama_cpp_server.py", "/app/llama-server"),
        name=("--alias", "-a"),
        weights="--model",
        needs=(),
        default_host=LOOPBACK,
        default_port=8080,
        loading=503,
        stranger=0,
        routes=_both(Openai(first="role-null")),
        figures=(
            "llamacpp:requests_processing",
            "llamacpp:requests_deferred",
            "llamacpp:tokens_predicted_total",
            "llamacpp:prompt_tokens_total",
        ),
        says=("srv load_model: initializing, n_slots = 4, n_ctx_slot = 2048, kv_unified = 'true'",),
        tells=("slots", "context_per_slot", "kv_unified"),
    ),
}
