#!/usr/bin/env python3
"""Stand-ins for the tools of TensorRT-LLM and of MLC-LLM: one program under their real names.

They check their arguments against the release's option list, read what the real one reads, refuse what it
refuses, and write what it writes, without any arithmetic. While a file `hold` lies beside the weights each
waits before it begins, so that a test can strike in the middle. Standard library only: it lives in an image,
under the same path as here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.fakes.toolchain.pages import serve
from tests.fakes.toolchain.pbtxt import pbtxt

LISTS = Path(os.environ.get("TOOLCHAIN_LISTS", "/opt/toolchain/options"))
MLC_VERSION = os.environ.get("TOOLCHAIN_MLC", "0.1.dev1251")
MLC_INDEX = {"0.1.dev1251": "ndarray-cache.json", "0.20.0": "tensor-cache.json"}[MLC_VERSION]
MODELS = Path("/models")
ANSWER = ("Hello", ", ", "level", " bench", ".")


def main(program: str, words: list[str]) -> None:
    if program == "mpirun":
        os.execv(words[2], words[2:])  # noqa: S606 - after `-n 1`
    tool, name = TOOLS[program] if program != "mlc_llm" else MLC_TOOLS[words.pop(0)]
    print(f"{program} {' '.join(words)}", flush=True)
    while list(MODELS.glob("*/hold")):
        time.sleep(0.05)
    tool(Options.read(LISTS / f"{name}.json", words))


class Options:
    """The words of a command line, by flag; `argparse` would say the same of what is wrong."""

    def __init__(self, values: dict[str, str], positional: list[str]) -> None:
        self.values = values
        self.positional = positional

    @classmethod
    def read(cls, path: Path, words: Iterable[str]) -> Options:
        options = json.loads(path.read_text("utf-8"))["options"]
        known = {flag: option for option in options for flag in option.get("flags", ())}
        values: dict[str, str] = {}
        positional: list[str] = []
        left = list(words)
        while left:
            word = left.pop(0)
            if not word.startswith("-"):
                positional.append(word)
                continue
            flag, equals, value = word.partition("=")
            if flag not in known:
                fail(2, f"error: unrecognized arguments: {word}")
            if known[flag].get("nargs") == 0:
                values[known[flag]["flags"][0]] = "on"
                continue
            value = (
                value if equals else (left.pop(0) if left else fail(2, f"error: argument {flag}: expected 1"))
            )
            cls._fits(known[flag], flag, value)
            values[known[flag]["flags"][0]] = value
        for option in options:
            if option.get("required") and option.get("flags") and option["flags"][0] not in values:
                fail(2, f"error: the following arguments are required: {option['flags'][0]}")
        return cls(values, positional)

    @staticmethod
    def _fits(option: dict[str, Any], flag: str, value: str) -> None:
        choices = option.get("choices")
        if choices and value not in map(str, choices):
            fail(2, f"error: argument {flag}: invalid choice: {value!r} (choose from {choices})")
        kind = {"int": int, "float": float}.get(option.get("type", ""), str)
        try:
            kind(value)
        except ValueError:
            fail(2, f"error: argument {flag}: invalid {option['type']} value: {value!r}")

    def get(self, flag: str, default: str = "") -> str:
        return self.values.get(flag, default)

    def number(self, flag: str, default: int) -> int:
        return int(self.values.get(flag, default))


def fail(code: int, text: str) -> Any:
    print(text, file=sys.stderr, flush=True)
    sys.exit(code)


# TensorRT-LLM 0.9.0


def convert_checkpoint(options: Options) -> None:
    model = Path(options.get("--model_dir"))
    config = json.loads((model / "config.json").read_text("utf-8"))
    if config.get("quantization_config", {}).get("quant_method") == "awq":
        fail(1, "ValueError: AWQ is only supported by quantize.py script")
    _write_checkpoint(options, config, model, None)


def quantize(options: Options) -> None:
    model = Path(options.get("--model_dir"))
    config = json.loads((model / "config.json").read_text("utf-8"))
    if options.get("--qformat") != "int4_awq":
        fail(1, "only int4_awq stands in here")
    _write_checkpoint(options, config, model, {"quant_algo": "W4A16_AWQ", "group_size": 128})


def _write_checkpoint(options: Options, config: dict[str, Any], model: Path, scheme: Any) -> None:
    out = Path(options.get("--output_dir", "tllm_checkpoint"))
    out.mkdir(parents=True, exist_ok=True)
    written = {
        "architecture": config["architectures"][0],
        "dtype": options.get("--dtype", "float16"),
        "vocab_size": config["vocab_size"],
        "num_hidden_layers": config["num_hidden_layers"],
        "quantization": scheme or {"quant_algo": None},
    }
    (out / "config.json").write_text(json.dumps(written), "utf-8")
    (out / "rank0.safetensors").write_bytes(safetensors({"digest": digest(weights(model))}))
    print(f"Weights loaded. Total time: 00:00:00, written to {out}", flush=True)


def trtllm_build(options: Options) -> None:
    checkpoint = Path(options.get("--checkpoint_dir"))
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    if config["architecture"] != "LlamaForCausalLM":
        fail(1, f"RuntimeError: Unsupported model architecture: {config['architecture']}")
    if options.get("--gpt_attention_plugin", "float16") != config["dtype"]:
        fail(1, f"the attention plugin's type is not the checkpoint's, {config['dtype']}")
    batch, input_len = options.number("--max_batch_size", 1), options.number("--max_input_len", 1024)
    built = {
        "max_batch_size": batch,
        "max_input_len": input_len,
        "max_output_len": options.number("--max_output_len", 1024),
        "max_num_tokens": options.number("--max_num_tokens", batch * input_len),
        "plugin_config": {
            "use_paged_context_fmha": options.get("--use_paged_context_fmha", "disable") == "enable"
        },
    }
    out = Path(options.get("--output_dir", "engine_outputs"))
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(
        json.dumps({"pretrained_config": config, "build_config": built}), "utf-8"
    )
    (out / "rank0.engine").write_text(digest([checkpoint / "rank0.safetensors"]), "utf-8")
    Path(options.get("--output_timing_cache", "model.cache")).write_text("timings", "utf-8")
    print("[TRT-LLM] [I] Total time of building all engines: 00:00:00", flush=True)


def tritonserver(options: Options) -> None:
    repository = Path(options.get("--model-repository"))
    models = {folder.name: _loaded(folder) for folder in sorted(repository.iterdir())}
    used = re.findall(r'model_name: "(\w+)"', (repository / "ensemble" / "config.pbtxt").read_text("utf-8"))
    if missing := set(used) - models.keys():
        _unloaded(f"ensemble needs {', '.join(sorted(missing))}")
    engine = models["tensorrt_llm"]
    metrics = 'nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 0\n'
    serve(("0.0.0.0", options.number("--metrics-port", 8002)), {"/metrics": metrics}, {}, wait=False)  # noqa: S104
    kept = {"string_value": str(engine["parameters"].get("enable_kv_cache_reuse", "False"))}
    shown = {"max_batch_size": engine["max_batch_size"], "parameters": {"enable_kv_cache_reuse": kept}}
    pages = {
        "/v2/health/ready": "",
        "/v2/health/live": "",
        "/v2/models/tensorrt_llm/config": json.dumps(shown, separators=(",", ":")),
    }
    address = (options.get("--http-address", "0.0.0.0"), options.number("--http-port", 8000))  # noqa: S104
    print("[TensorRT-LLM][INFO] Max tokens in paged KV cache: 2048. Allocating 1 bytes.", flush=True)
    serve(address, pages, {"/v2/models/ensemble/generate_stream": tensors})


def _loaded(folder: Path) -> dict[str, Any]:
    """One model of the repository, refused as Triton and the backend refuse it."""
    config = pbtxt((folder / "config.pbtxt").read_text("utf-8"))
    told = {p["key"]: p["value"]["string_value"] for p in config.get("parameters", ())}
    if config["name"] != folder.name or not (folder / "1").is_dir():
        _unloaded(f"{folder.name}: at least one version must be available under the version policy")
    if config.get("backend") == "python":
        if not (folder / "1" / "model.py").is_file():
            _unloaded(f"{folder.name}: no model.py")
        if not list(Path(told["tokenizer_dir"]).glob("tokenizer*")):
            _unloaded(f"{folder.name}: Can't load tokenizer for '{told['tokenizer_dir']}'")
    if config.get("backend") == "tensorrtllm":
        engine = Path(told["gpt_model_path"])
        built = json.loads((engine / "config.json").read_text("utf-8"))["build_config"]
        if not (engine / "rank0.engine").is_file() or config["max_batch_size"] > built["max_batch_size"]:
            _unloaded(f"{folder.name}: engine for {built['max_batch_size']}, not {config['max_batch_size']}")
        reused = told.get("enable_kv_cache_reuse") == "True"
        if reused and not built["plugin_config"]["use_paged_context_fmha"]:
            _unloaded(f"{folder.name}: KV cache reuse needs paged context FMHA")
    return {"max_batch_size": config["max_batch_size"], "parameters": told}


def _unloaded(why: str) -> None:
    print(f"E failed to load: {why}", flush=True)
    fail(1, "error: creating server: Internal - failed to load all models")


def tensors(asked: dict[str, Any]) -> Iterator[dict[str, Any]] | str:
    """An event a token; unknown keys become parameters, which may not be objects."""
    if "text_input" not in asked or "max_tokens" not in asked:
        return '{"error":"[request id: <id_unknown>] expected input text_input and max_tokens"}'
    if bad := [key for key, value in asked.items() if isinstance(value, dict)]:
        return json.dumps({"error": f"parameter {bad[0]} may not be an object"})
    head = {"model_name": "ensemble", "model_version": "1", "sequence_end": False, "sequence_id": 0}
    return ({**head, "text_output": text} for text in (*ANSWER, ""))


# TensorRT-LLM 1.2.1 and modelopt


def hf_ptq(options: Options) -> None:
    model, out = Path(options.get("--pyt_ckpt_path")), Path(options.get("--export_path", "exported_model"))
    config = json.loads((model / "config.json").read_text("utf-8"))
    config["quantization_config"] = {
        "quant_method": "modelopt",
        "quant_algo": options.get("--qformat", "fp8"),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config), "utf-8")
    (out / "model.safetensors").write_bytes(safetensors({"digest": digest(weights(model))}))
    for file in model.glob("tokenizer*"):
        shutil.copy(file, out / file.name)


def trtllm_serve(options: Options) -> None:
    model = Path(options.positional[0])
    config = json.loads((model / "config.json").read_text("utf-8"))
    weights(model)
    if not list(model.glob("tokenizer*")):
        fail(1, f"OSError: Can't load tokenizer for '{model}'")
    if config.get("quantization_config", {}).get("quant_algo", "int4_awq") != "int4_awq":
        fail(1, "only int4_awq stands in here")
    if options.get("--config"):
        print(f"[TRT-LLM] [I] {Path(options.get('--config')).read_text('utf-8')}", flush=True)
    address = (options.get("--host", "localhost"), options.number("--port", 8000))
    serve(address, {"/health": ""}, {"/v1/chat/completions": chat})


# MLC-LLM


def convert_weight(options: Options) -> None:
    model, out = Path(options.positional[0]), Path(options.get("--output"))
    found = digest(weights(model))
    out.mkdir(parents=True, exist_ok=True)
    (out / "params_shard_0.bin").write_text(found, "utf-8")
    index = {
        "metadata": {"ParamSize": 1},
        "records": [{"dataPath": "params_shard_0.bin", "nbytes": len(found)}],
    }
    (out / MLC_INDEX).write_text(json.dumps(index), "utf-8")


def gen_config(options: Options) -> None:
    model, out = Path(options.positional[0]), Path(options.get("--output"))
    config = json.loads((model / "config.json").read_text("utf-8"))
    context = options.number("--context-window-size", config["max_position_embeddings"])
    batch = options.number("--max-batch-size", {"0.1.dev1251": 80, "0.20.0": 128}[MLC_VERSION])
    files = sorted(file.name for file in model.glob("tokenizer*"))
    written = {
        "model_type": config["model_type"],
        "quantization": options.get("--quantization"),
        "context_window_size": context,
        "model_config": {"max_batch_size": batch, "context_window_size": context},
        "conv_template": options.get("--conv-template"),
        "tokenizer_files": files,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "mlc-chat-config.json").write_text(json.dumps(written), "utf-8")
    for name in files:
        shutil.copy(model / name, out / name)


def compile_library(options: Options) -> None:
    config = json.loads(Path(options.positional[0]).read_text("utf-8"))
    overrides = _overrides(options)
    library = {
        "context_window_size": int(overrides.get("context_window_size", config["context_window_size"])),
        "quantization": config["quantization"],
    }
    Path(options.get("--output")).write_text(json.dumps(library), "utf-8")


def mlc_serve(options: Options) -> None:
    model = Path(options.positional[0])
    config = json.loads((model / "mlc-chat-config.json").read_text("utf-8"))
    library = json.loads(Path(options.get("--model-lib")).read_text("utf-8"))
    if not (model / MLC_INDEX).is_file():
        fail(1, f"InternalError: Check failed: (!fs.fail()) is false: Cannot open {model / MLC_INDEX}")
    records = json.loads((model / MLC_INDEX).read_text("utf-8"))["records"]
    if missing := [r["dataPath"] for r in records if not (model / r["dataPath"]).is_file()]:
        fail(1, f"Cannot open {model / missing[0]}")
    overrides = _overrides(options)
    window = int(overrides.get("context_window_size", config["context_window_size"]))
    if window > library["context_window_size"]:
        fail(1, f"Model 0's runtime context window size ({window}) is larger than the library's")
    mode = options.get("--mode", "local")
    compiled = config["model_config"]["max_batch_size"]
    batch = options.get("--max-batch-size") or overrides.get("max_num_sequence")
    batch = batch or {"local": min(4, compiled), "interactive": 1, "server": compiled}[mode]
    capacity = options.get("--max-total-seq-length") or overrides.get("max_total_seq_length") or 8192
    print(
        f'The actual engine mode is "{mode}". So max batch size is {batch}, '
        f"max KV cache token capacity is {capacity}, prefill chunk size is 2048.",
        flush=True,
    )
    address = (options.get("--host", "127.0.0.1"), options.number("--port", 8000))
    pages = {"/v1/models": json.dumps({"object": "list", "data": [{"id": str(model)}]})}
    serve(address, pages, {"/v1/chat/completions": chat, "/v1/completions": completions})


def _overrides(options: Options) -> dict[str, str]:
    return dict(pair.split("=") for pair in options.get("--overrides").split(";") if pair)


def chat(asked: dict[str, Any]) -> Iterator[dict[str, Any]] | str:
    if "messages" not in asked:
        return '{"object":"error","message":"messages are missing","code":422}'
    return _chunks(lambda text: {"delta": {"role": "assistant", "content": text}}, {})


def completions(asked: dict[str, Any]) -> Iterator[dict[str, Any]] | str:
    """The prompt is token ids; every chunk carries the usage up to it."""
    if not asked.get("prompt"):
        return '{"object":"error","message":"prompt is missing","code":422}'
    return _chunks(lambda text: {"text": text}, {"prompt_tokens": len(asked["prompt"])})


def _chunks(choice: Callable[[str], dict[str, Any]], counted: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Nothing here can tokenize messages: the length of a prompt is told where it came as tokens."""
    for count, text in enumerate(ANSWER, 1):
        finish = "stop" if count == len(ANSWER) else None
        usage = {**counted, "completion_tokens": count}
        yield {"choices": [{"index": 0, "finish_reason": finish, **choice(text)}], "usage": usage}


# What they share


def weights(model: Path) -> list[Path]:
    found = sorted(model.glob("*.safetensors"))
    if not found:
        fail(1, f"no weights in {model}")
    return found


def digest(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        found.update(path.read_bytes())
    return found.hexdigest()


def safetensors(metadata: dict[str, str]) -> bytes:
    """One tensor of four zero bytes."""
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": metadata, "weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


TOOLS: dict[str, tuple[Callable[[Options], None], str]] = {
    "convert_checkpoint.py": (convert_checkpoint, "trtllm-convert_checkpoint-llama-0.9.0"),
    "quantize.py": (quantize, "trtllm-quantize-0.9.0"),
    "trtllm-build": (trtllm_build, "trtllm-build-0.9.0"),
    "tritonserver": (tritonserver, "tritonserver-2.45.0"),
    "hf_ptq.py": (hf_ptq, "modelopt-hf_ptq-0.46.0"),
    "trtllm-serve": (trtllm_serve, "tensorrt-llm-1.2.1"),
}
MLC_TOOLS: dict[str, tuple[Callable[[Options], None], str]] = {
    "convert_weight": (convert_weight, f"mlc-llm-convert_weight-{MLC_VERSION}"),
    "gen_config": (gen_config, f"mlc-llm-gen_config-{MLC_VERSION}"),
    "compile": (compile_library, f"mlc-llm-compile-{MLC_VERSION}"),
    "serve": (mlc_serve, f"mlc-llm-serve-{MLC_VERSION}"),
}

if __name__ == "__main__":
    main(Path(sys.argv[0]).name, sys.argv[1:])
