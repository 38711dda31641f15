"""What only TensorRT-LLM has: engines, a model repository, its own 4 bits."""

from __future__ import annotations

from typing import Any

import pytest

from backends import load_backends
from backends.contract import ModelTraits, PrefixCaching, Profile, Refusal, ServeSpec, Setup
from orchestrator.catalog import loader
from tests.fakes.toolchain.pbtxt import pbtxt
from tests.goldens import HOSTS

BACKEND = load_backends()["tensorrt-llm"]
A100 = next(host for host in HOSTS.values() if host.gpu_memory_bytes)
LARGE = A100.model_copy(update={"gpu_memory_bytes": 192 * 10**9})
JUNE, TODAY = "2024-06", "current"
OUTSIDE = {"text_input", "max_tokens", "end_id", "pad_id", "stop_words", "bad_words", "stream"}


def setup(release: str, model: str = "8b", profile: Profile = Profile.DEFAULTS, **changes: Any) -> Setup:
    found = BACKEND.release(release)
    assert found is not None
    (build,) = found.builds
    traits: ModelTraits = loader.model(model).traits
    host = changes.pop("host", A100)
    return Setup(build=build, model=traits, profile=profile, host=host, **changes)


def configs(serve: ServeSpec) -> dict[str, dict[str, Any]]:
    return {file.path.removesuffix(".pbtxt"): pbtxt(file.text) for file in serve.files}


def parameters(config: dict[str, Any]) -> dict[str, str]:
    return {p["key"]: p["value"]["string_value"] for p in config["parameters"]}


def flags(argv: tuple[str, ...]) -> dict[str, str]:
    return {word: argv[i + 1] for i, word in enumerate(argv[:-1]) if word.startswith("--")}


@pytest.mark.parametrize("profile", Profile)
def test_every_model_of_the_repository_has_its_file_and_folder(profile: Profile) -> None:
    """Its name and batch agree with its folder and with the engine; each has a version."""
    asked = setup(JUNE, profile=profile)
    serve, (_, engine) = BACKEND.serve(asked), BACKEND.steps(asked)
    found = configs(serve)

    assert {"ensemble", "preprocessing", "tensorrt_llm", "postprocessing"} == set(found)
    for name, config in found.items():
        assert name == config["name"]
        assert flags(engine.argv)["--max_batch_size"] == str(config["max_batch_size"])
        assert f"{name}/config.pbtxt={{config}}/{name}.pbtxt" in serve.argv
        assert any(word.startswith(f"{name}/1") for word in serve.argv)


def test_the_ensemble_is_wired_through() -> None:
    """Every tensor that a step takes is an input of the ensemble or was given by a step before it, and every
    name is one that the model has."""
    found = configs(BACKEND.serve(setup(JUNE)))
    known = {tensor["name"] for tensor in found["ensemble"]["input"]}
    assert known >= OUTSIDE
    for step in found["ensemble"]["ensemble_scheduling"]["step"]:
        model = found[step["model_name"]]
        takes, gives = ({t["name"] for t in model[side]} for side in ("input", "output"))
        assert {m["key"] for m in step["input_map"]} <= takes
        assert {m["key"] for m in step["output_map"]} <= gives
        assert {m["value"] for m in step["input_map"]} <= known
        mandatory = {t["name"] for t in model["input"] if not t.get("optional")}
        assert mandatory <= {m["key"] for m in step["input_map"]}
        known |= {m["value"] for m in step["output_map"]}

    assert {tensor["name"] for tensor in found["ensemble"]["output"]} <= known


@pytest.mark.parametrize(
    ("profile", "model", "batch", "told"),
    [
        (Profile.DEFAULTS, "8b", 64, {}),
        (
            Profile.MATCHED,
            "8b",
            256,
            {"max_tokens_in_paged_kv_cache": "262144", "enable_kv_cache_reuse": "True"},
        ),
        (
            Profile.PUBLISHED,
            "8b",
            64,
            {
                "kv_cache_free_gpu_mem_fraction": "0.95",
                "max_attention_window_size": "2560",
                "enable_kv_cache_reuse": "True",
            },
        ),
        (
            Profile.PUBLISHED,
            "70b-int4-awq",
            64,
            {"kv_cache_free_gpu_mem_fraction": "0.95", "max_attention_window_size": "2560"},
        ),
    ],
)
def test_the_engine_is_told_by_profile(
    profile: Profile, model: str, batch: int, told: dict[str, str]
) -> None:
    """Besides what stands in every repository."""
    always = {
        "gpt_model_path": "{step:engine}",
        "gpt_model_type": "inflight_fused_batching",
        "exclude_input_in_output": "True",
        "FORCE_CPU_ONLY_INPUT_TENSORS": "no",
        "worker_path": "/opt/tritonserver/backends/tensorrtllm/triton_tensorrtllm_worker",
    }
    config = configs(BACKEND.serve(setup(JUNE, model, profile)))["tensorrt_llm"]

    assert batch == config["max_batch_size"]
    assert always | told == parameters(config)
    assert {"decoupled": True} == config["model_transaction_policy"]


@pytest.mark.parametrize("asked", [PrefixCaching.ON, PrefixCaching.OFF])
@pytest.mark.parametrize("profile", Profile)
def test_reuse_is_built_in_and_switched_on_together(profile: Profile, asked: PrefixCaching) -> None:
    """The one without the other is refused by the engine."""
    on = setup(JUNE, profile=profile, prefix_caching=asked)
    config = configs(BACKEND.serve(on))["tensorrt_llm"]
    built = flags(BACKEND.steps(on)[1].argv).get("--use_paged_context_fmha", "disable")

    assert (asked is PrefixCaching.ON) is ("enable_kv_cache_reuse" in parameters(config))
    assert (asked is PrefixCaching.ON) is (built == "enable")


def test_the_published_engine_is_the_articles() -> None:
    """64 sequences, 512 tokens of input, bfloat16 in all three places, greedy, and no end of its own."""
    asked = setup(JUNE, profile=Profile.PUBLISHED)
    convert, engine = (flags(step.argv) for step in BACKEND.steps(asked))

    assert "bfloat16" == convert["--dtype"]
    assert {"64", "512"} == {engine["--max_batch_size"], engine["--max_input_len"]}
    assert {"bfloat16"} == {engine["--gemm_plugin"], engine["--gpt_attention_plugin"]}
    assert {"top_k": 1} == BACKEND.request(asked).fields


@pytest.mark.parametrize("profile", [Profile.DEFAULTS, Profile.MATCHED])
def test_llama_3_ends_at_its_end_of_turn(profile: Profile) -> None:
    """128009, unless it is another model, whose tokenizer's own end is taken."""
    assert {"end_id": 128009, "pad_id": 128009} == BACKEND.request(setup(JUNE, profile=profile)).fields
    assert {} == BACKEND.request(setup(JUNE, "tiny", profile)).fields


def test_an_a100_cannot_quantise_at_0_9_0() -> None:
    """It says what is too large and what to do; a larger GPU can, and so can whoever has the artifact."""
    refusal = BACKEND.supports(setup(JUNE, "70b-int4-awq"))

    assert isinstance(refusal, Refusal)
    assert refusal.reason.endswith("with all 141 GB on the GPU, which has 86 GB")
    assert "RELEASE=current, MODEL=8b, or a larger GPU" == refusal.alternative
    assert BACKEND.supports(setup(JUNE, "70b-int4-awq", host=LARGE)) is None
    assert BACKEND.supports(setup(JUNE, "70b-int4-awq", finished=("quantize",))) is None


def test_modelopt_takes_the_hosts_memory_too() -> None:
    """Refused only where GPU and host together are too small."""
    small = A100.model_copy(update={"memory_bytes": 64 * 2**30})
    refusal = BACKEND.supports(setup(TODAY, "70b-int4-awq", host=small))

    assert BACKEND.supports(setup(TODAY, "70b-int4-awq")) is None
    assert isinstance(refusal, Refusal)
    assert "holds 141 GB in GPU and host memory, which have 137 GB" in refusal.reason
    assert BACKEND.supports(setup(TODAY, "70b-int4-awq", host=small, finished=("quantize",))) is None


def test_modelopt_needs_memory_for_what_the_gpu_does_not_take() -> None:
    """And never less than for what it writes in the end; so preflight accepts what `supports` accepts."""
    found = [
        BACKEND.steps(setup(TODAY, "70b-int4-awq", host=host))[0].memory_bytes / 1e9 for host in (A100, LARGE)
    ]

    assert [72, 40] == [round(memory_gb) for memory_gb in found]


@pytest.mark.parametrize("release", [JUNE, TODAY])
def test_autoawq_is_refused(release: str) -> None:
    """With a model that works instead."""
    refusal = BACKEND.supports(setup(release, "70b-awq"))

    assert isinstance(refusal, Refusal)
    assert "MODEL=8b" in (refusal.alternative or "")


@pytest.mark.parametrize("release", [JUNE, TODAY])
def test_only_an_engine_is_bound_to_a_gpu(release: str) -> None:
    """Checkpoints are made on a GPU and are of use on any."""
    for model in ("8b", "70b-int4-awq"):
        asked = setup(release, model, finished=("quantize",))
        bound = [step.id for step in BACKEND.steps(asked) if step.gpu and not step.portable]

        assert bound == (["engine"] if release == JUNE else [])


@pytest.mark.parametrize(
    ("profile", "model", "prefix", "yaml"),
    [
        (Profile.DEFAULTS, "8b", PrefixCaching.PROFILE, None),
        (
            Profile.DEFAULTS,
            "8b",
            PrefixCaching.OFF,
            "kv_cache_config:\n  enable_block_reuse: false\n",
        ),
        (
            Profile.MATCHED,
            "8b",
            PrefixCaching.OFF,
            'dtype: "float16"\nkv_cache_config:\n  max_tokens: 262144\n  enable_block_reuse: false\n',
        ),
        (Profile.PUBLISHED, "8b", PrefixCaching.PROFILE, 'dtype: "bfloat16"\n'),
        (
            Profile.PUBLISHED,
            "70b-int4-awq",
            PrefixCaching.PROFILE,
            'dtype: "bfloat16"\nkv_cache_config:\n  enable_block_reuse: false\n',
        ),
    ],
)
def test_llm_yaml_holds_what_no_flag_can_say(
    profile: Profile, model: str, prefix: PrefixCaching, yaml: str | None
) -> None:
    """And is not there where it would be empty."""
    serve = BACKEND.serve(setup(TODAY, model, profile, prefix_caching=prefix))

    assert ([yaml] if yaml else []) == [file.text for file in serve.files]
    assert (yaml is not None) is ("{config}/llm.yaml" in serve.argv)
