"""What only MLC-LLM has: three steps whose folders are served as one, and weights in its own format."""

from __future__ import annotations

import pytest

from backends import load_backends
from backends.contract import Dialect, Profile, Refusal, Setup, Template, WeightsFormat
from orchestrator.catalog import loader
from tests.goldens import HOSTS

BACKEND = load_backends()["mlc-llm"]
A100 = next(host for host in HOSTS.values() if host.gpu_memory_bytes)
JUNE, TODAY = "2024-06", "current"
each_release = pytest.mark.parametrize("release", [JUNE, TODAY])


def setup(release: str, model: str = "8b", profile: Profile = Profile.DEFAULTS) -> Setup:
    found = BACKEND.release(release)
    assert found is not None
    (build,) = found.builds
    return Setup(build=build, model=loader.model(model).traits, profile=profile, host=A100)


@each_release
def test_autoawq_is_refused_with_mlcs_own(release: str) -> None:
    """As the issue has it, although the tools know q4f16_autoawq."""
    refusal = BACKEND.supports(setup(release, "70b-awq"))

    assert isinstance(refusal, Refusal)
    assert "MODEL=70b-q4f16_1 or MODEL=70b-4bit" == refusal.alternative


@each_release
def test_weights_are_converted_configured_and_compiled(release: str) -> None:
    """In this order; only the library is bound to a GPU."""
    steps = BACKEND.steps(setup(release))

    assert ["convert", "config", "compile"] == [step.id for step in steps]
    assert ["compile"] == [step.id for step in steps if step.gpu and not step.portable]
    assert "{step:config}/mlc-chat-config.json" in steps[2].argv


@each_release
def test_weights_in_mlcs_format_are_compiled_alone(release: str) -> None:
    """They bring their configuration along."""
    asked = setup(release, "70b-q4f16_1")
    (step,) = BACKEND.steps(asked)

    assert "{model}/mlc-chat-config.json" in step.argv
    assert WeightsFormat.MLC is BACKEND.serve(asked).weights


def test_an_index_under_its_old_name_is_found_under_the_new() -> None:
    """0.20 looks for tensor-cache.json; weights of 2024 have ndarray-cache.json; the new one wins."""
    before = BACKEND.serve(setup(TODAY, "70b-q4f16_1")).argv
    links = before[3 : before.index("exec")]

    assert (".={model}", "tensor-cache.json={model}/ndarray-cache.json") == links
    assert "{model}" in BACKEND.serve(setup(JUNE, "70b-q4f16_1")).argv


@each_release
def test_what_two_steps_wrote_is_served_as_one_folder(release: str) -> None:
    """mlc_llm takes one."""
    argv = BACKEND.serve(setup(release)).argv
    folder = argv[argv.index("serve") + 1]

    assert ("python3", "{files}/assembled.py", folder) == argv[:3]
    assert (".={step:convert}", ".={step:config}") == argv[3:5]


def test_the_same_tokens_as_everyone_but_where_the_article_had_not() -> None:
    """dev1251's own template is wrong: only `published` uses it."""
    for profile in (Profile.DEFAULTS, Profile.MATCHED):
        request = BACKEND.request(setup(JUNE, profile=profile))
        assert (Dialect.OPENAI_COMPLETIONS, Template.TOKENS) == (request.dialect, request.template)
        assert {"stop": ["<|eot_id|>", "<|end_of_text|>"]} == request.fields
    published = BACKEND.request(setup(JUNE, profile=Profile.PUBLISHED))

    assert (Dialect.OPENAI_CHAT, Template.MESSAGES) == (published.dialect, published.template)
    assert {"stop", "temperature", "top_p"} == set(published.fields)


@pytest.mark.parametrize(
    ("release", "model", "words"),
    [
        (JUNE, "8b", ("--max-batch-size", "256", "--max-total-seq-length", "262144")),
        (
            TODAY,
            "8b",
            ("--overrides", "max_num_sequence=256;max_total_seq_length=262144;context_window_size=2048"),
        ),
    ],
)
def test_matched_is_said_in_each_releases_words(release: str, model: str, words: tuple[str, ...]) -> None:
    """dev1251 has flags where 0.20 has overrides."""
    argv = BACKEND.serve(setup(release, model, Profile.MATCHED)).argv
    at = argv.index(words[0])

    assert words == argv[at : at + len(words)]


def test_a_cap_that_cannot_be_set_is_told() -> None:
    """dev1251 refuses a library for less context than the configuration of the weights names."""
    told = BACKEND.deviations(setup(JUNE, "70b-q4f16_1", Profile.MATCHED))

    assert "not reproduced" == next(d.value for d in told if d.setting == "a sequence cap of 2048 tokens")
    assert all(
        "context_window_size" not in w for s in BACKEND.steps(setup(JUNE, "70b-q4f16_1")) for w in s.argv
    )
