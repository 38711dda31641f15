"""The Triton model repository of tensorrtllm_backend 0.9.0, as text: one config.pbtxt a model.

Only the ensemble: the BLS model serves one request an instance (reference/backends-2024.md, section 5.3).
Written here and not filled into upstream's templates: fill_template.py cuts values at every comma and colon.
The files belong to `serve`, since they name the folders of the engine and of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from backends.contract import SpecFile
from backends.tensorrt_llm import interface
from backends.tensorrt_llm.interface import Tensor

MODELS = ("ensemble", "preprocessing", "tensorrt_llm", "postprocessing")
_INSTANCE = "instance_group [ { count: 1 kind: KIND_CPU } ]\n"


def files(batch: int, values: Mapping[str, JsonValue]) -> tuple[SpecFile, ...]:
    """`values` are the engine's own parameters that do not keep their default."""
    texts = {
        "ensemble": _ensemble(batch),
        "preprocessing": _preprocessing(batch),
        "tensorrt_llm": _engine(batch, values),
        "postprocessing": _postprocessing(batch),
    }
    return tuple(SpecFile(path=f"{name}.pbtxt", text=texts[name]) for name in MODELS)


def _ensemble(batch: int) -> str:
    to_engine = {theirs: f"_{ours}" for ours, theirs in interface.PREPROCESSED.items()}
    to_engine |= {theirs: ours for ours, (theirs, _) in interface.SAMPLING.items()}
    steps = (
        _step(
            "preprocessing",
            {theirs: ours for ours, theirs in interface.FOR_PREPROCESSING.items()},
            {name: f"_{name}" for name in interface.PREPROCESSED},
        ),
        _step("tensorrt_llm", to_engine, {row[0]: f"_{row[1]}" for row in interface.GENERATED}),
        _step(
            "postprocessing",
            {row[1]: f"_{row[1]}" for row in interface.GENERATED},
            {row[2]: row[3] for row in interface.GENERATED if row[2] and row[3]},
        ),
    )
    tensors = _tensors("input", interface.ENSEMBLE_INPUTS) + _tensors("output", interface.ENSEMBLE_OUTPUTS)
    head = f'name: "ensemble"\nplatform: "ensemble"\nmax_batch_size: {batch}\n'
    return f"{head}{tensors}ensemble_scheduling {{\n{''.join(steps)}}}\n"


def _preprocessing(batch: int) -> str:
    inputs = [
        (interface.FOR_PREPROCESSING[name], kind, dims, more)
        for name, kind, dims, more in interface.TEXT_INPUTS
    ]
    tensors = _tensors("input", inputs) + _tensors("output", interface.PREPROCESSED_OUTPUTS)
    return _head("preprocessing", "python", batch) + tensors + _parameters({"tokenizer_dir": "{model}"})


def _engine(batch: int, values: Mapping[str, JsonValue]) -> str:
    """One instance holds every sequence of the in-flight batch. Decoupled, for an event a token."""
    told: dict[str, JsonValue] = {
        "gpt_model_path": "{step:engine}",
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "worker_path": "/opt/tritonserver/backends/tensorrtllm/triton_tensorrtllm_worker",
        **values,
    }
    batching = f"dynamic_batching {{ preferred_batch_size: [ {batch} ] max_queue_delay_microseconds: 0 }}\n"
    policy = "model_transaction_policy { decoupled: true }\n"
    tensors = _tensors("input", interface.ENGINE_INPUTS) + _tensors("output", interface.ENGINE_OUTPUTS)
    return _head("tensorrt_llm", "tensorrtllm", batch) + policy + batching + tensors + _parameters(told)


def _postprocessing(batch: int) -> str:
    told: dict[str, JsonValue] = {"tokenizer_dir": "{model}", "skip_special_tokens": True}
    tensors = _tensors("input", interface.POSTPROCESSED_INPUTS)
    tensors += _tensors("output", interface.POSTPROCESSED_OUTPUTS)
    return _head("postprocessing", "python", batch) + tensors + _parameters(told)


def _head(name: str, backend: str, batch: int) -> str:
    return f'name: "{name}"\nbackend: "{backend}"\nmax_batch_size: {batch}\n{_INSTANCE}'


def _tensors(direction: str, tensors: Iterable[Tensor]) -> str:
    lines = [
        f'  {{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] {more}'.rstrip() + " }"
        for name, kind, dims, more in tensors
    ]
    return f"{direction} [\n{(',' + chr(10)).join(lines)}\n]\n"


def _step(model: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """One model of the ensemble: its own names of tensors, and the ensemble's."""
    maps = [("input_map", inputs), ("output_map", outputs)]
    lines = [f'    {kind} {{ key: "{k}" value: "{v}" }}\n' for kind, names in maps for k, v in names.items()]
    return f'  step {{\n    model_name: "{model}"\n    model_version: -1\n{"".join(lines)}  }}\n'


def _parameters(values: Mapping[str, JsonValue]) -> str:
    """Every parameter is a string to Triton."""
    return "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n'
        for key, value in values.items()
    )
