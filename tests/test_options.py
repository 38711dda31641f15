"""What a release takes on its command line, and a user's own options put into it."""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import options
from orchestrator.domain.option import Neighbour, Option, OptionList, OptionType, read
from orchestrator.errors import RequestError
from orchestrator.launching import check
from orchestrator.options import Fault, Problem, env_faults, faults, load, merge, names, pair_faults
from orchestrator.render import FOLDER as DOCKERFILES
from tests.goldens import CASES, Case
from tests.parsers.argparse_walk import walk

COMMANDS = """
vllm-0.4.2 --model {model} --quantization awq --dtype float16 --enable-prefix-caching
vllm-0.33.0 {model} --dtype float16 --max-model-len 8192 --generation-config vllm --seed 0
lmdeploy-0.4.0 {model} --model-name llama3 --server-name {bind} --server-port {port} --log-level INFO
lmdeploy-0.18.0 {model} --backend turbomind --model-format awq --cache-max-entry-count 0.95
lmdeploy-lite-auto_awq-0.4.0 {model} --calib-dataset ptb --calib-samples 128 --calib-seqlen 2048 --w-bits 4 --w-group-size 128
lmdeploy-lite-auto_awq-0.18.0 {model} --calib-dataset wikitext2 --batch-size 1 --search-scale
tgi-2.0.4 --model-id {model} --num-shard 1 --port 80 --quantize awq --cuda-graphs 1,2,4,100
tgi-3.3.7 --model-id {model} --dtype float16 --graceful-termination-timeout 5 --usage-stats off
tensorrt-llm-1.2.1 {model} --host {bind} --port {port} --extra_llm_api_options {config}
trtllm-build-0.9.0 --checkpoint_dir /c --output_dir /e --gpt_attention_plugin float16 --gemm_plugin bfloat16 --max_batch_size 64 --max_input_len 512 --paged_kv_cache enable --use_paged_context_fmha enable
trtllm-convert_checkpoint-llama-0.9.0 --model_dir {model} --output_dir {out} --dtype float16 --load_model_on_cpu
trtllm-quantize-0.9.0 --model_dir {model} --output_dir {out} --dtype float16 --qformat int4_awq --awq_block_size 128
tritonserver-2.45.0 --model-repository=/repo --http-port={port} --disable-auto-complete-config --backend-config=python,shm-region-prefix-name=prefix0_ --backend-config=default-max-batch-size,4
mlc-llm-convert_weight-0.1.dev1251 {model} --quantization q4f16_1 -o {out}
mlc-llm-gen_config-0.1.dev1251 {model} --quantization q4f16_1 --conv-template llama-3 --max-batch-size 128 -o {out}
mlc-llm-compile-0.1.dev1251 {step:config} --device cuda --opt O2 -o {out}
mlc-llm-serve-0.1.dev1251 {model} --mode server --prefix-cache-max-num-seqs 0 --host {bind}
mlc-llm-convert_weight-0.20.0 {model} --quantization q4f16_autoawq --source-format awq -o {out}
mlc-llm-gen_config-0.20.0 {model} --quantization q0f16 --conv-template llama-3 -o {out}
mlc-llm-compile-0.20.0 {step:config} --device cuda --opt O3 -o {out}
mlc-llm-serve-0.20.0 {model} --mode server --port {port} --overrides max_num_sequence=128;gpu_memory_utilization=0.85
sglang-0.5.23 --model-path {model} --host {bind} --enable-metrics --mem-fraction-static 0.8 --tp-size 1
llama.cpp-0c1e57098 -m {model} -np 100 -c 204800 -ngl all -fa auto --no-cache-prompt --cache-ram 0
modelopt-hf_ptq-0.46.0 --pyt_ckpt_path {model} --qformat int4_awq --kv_cache_qformat none --calib_size 512 --export_path {out}
bentoml-serve-1.2.16 service:Llama --port {port} --api-workers 1
"""
INNER = OptionList(
    name="inner-1",
    version="1",
    command=("serve", "--over"),
    source="here",
    options=(
        Option(dest="depth", flags=("depth",), type=OptionType.INT),
        Option(dest="mode", flags=("mode",), choices=("on", "off")),
    ),
)
LIST = OptionList(
    name="engine-2",
    version="2",
    command=("serve",),
    source="here",
    earlier=Neighbour(version="1", flags=frozenset({"--swap", "--depth"})),
    later=Neighbour(version="3", flags=frozenset({"--warp"})),
    nested={"inner-1": INNER},
    underscores=True,
    dotted=True,
    options=(
        Option(dest="model", positional=True, required=True, identity=True),
        Option(dest="port", flags=("--port",), type=OptionType.INT, identity=True),
        Option(dest="level", flags=("-O", "--level"), type=OptionType.INT, choices=("0", "1", "2")),
        Option(
            dest="batch_size", flags=("--batch-size", "-bs", "-b-s"), type=OptionType.INT, env="BATCH_SIZE"
        ),
        Option(dest="length", flags=("--length",), type=OptionType.SIZE, also=("auto",)),
        Option(dest="share", flags=("--share",), type=OptionType.FLOAT),
        Option(dest="strict", flags=("--strict",), type=OptionType.BOOL),
        Option(dest="config", flags=("--config",), type=OptionType.OBJECT),
        Option(dest="headers", flags=("--headers",), type=OptionType.JSON),
        Option(dest="loader", flags=("--loader",), type=OptionType.STR_OR_OBJECT),
        Option(dest="folder", flags=("--folder",), type=OptionType.PATH),
        Option(dest="eager", flags=("--eager", "--no-eager"), nargs=0, env="EAGER"),
        Option(dest="names", flags=("--names",), nargs="+"),
        Option(dest="origins", flags=("--origins",), nargs="*"),
        Option(dest="token", flags=("--token",), nargs="?"),
        Option(dest="layers", flags=("--layers",), type=OptionType.INT, nargs=2),
        Option(dest="graphs", flags=("--graphs",), type=OptionType.INT, separator=",", env="GRAPHS"),
        Option(dest="plugin", flags=("--plugin",), repeats=True),
        Option(dest="iterations", flags=("--iterations",), dead="parsed, never passed on"),
        Option(dest="capture", flags=("--capture",), type=OptionType.INT, raises="use --graphs"),
        Option(dest="over", flags=("--over",), nested="inner-1"),
    ),
)


def found(*words: str, given_list: OptionList = LIST) -> list[Problem]:
    return [fault.problem for fault in faults(given_list, ("m", *words))]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--batch-size", "8"),
        ("--batch-size=8",),
        ("--batch_size", "8"),
        ("-bs", "8"),
        ("-bs=-1",),
        ("--batch-size", "-1"),
        ("-O2",),
        ("-O", "2"),
        ("-O=2",),
        ("--length", "25.6k"),
        ("--length", "8K"),
        ("--length", "auto"),
        ("--share", "0.9"),
        ("--share", "1e-3"),
        ("--strict", "true"),
        ("--config", '{"a": 1}'),
        ("--headers", '["*"]'),
        ("--config.a.b", "1"),
        ("--config.a=1", "--config.b=2"),
        ("--loader", "fast"),
        ("--loader", '{"a": 1}'),
        ("--folder", "/x"),
        ("--folder", "-"),
        ("--eager",),
        ("--no-eager",),
        ("--names", "a", "b"),
        ("--origins",),
        ("--token",),
        ("--token", "x"),
        ("--layers", "1", "-1"),
        ("--graphs", "1,2,4"),
        ("--plugin", "a", "--plugin", "b"),
        ("--over", "depth=3;mode=on"),
        ("--batch-size", "{port}"),
        ("-O", "{step:build}"),
        ("--over", "{config}"),
    ],
)
def test_fitting_words_have_no_fault(words: tuple[str, ...]) -> None:
    """Every way in which a parser takes an option is taken."""
    assert [] == found(*words)


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Problem.UNKNOWN, ("--batch", "8")),
        (Problem.UNKNOWN, ("--nope", "8", "9")),
        (Problem.UNKNOWN, ("-x",)),
        (Problem.UNKNOWN, ("-b_s", "8")),
        (Problem.STRAY, ("second",)),
        (Problem.STRAY, ("--token", "x", "second")),
        (Problem.NO_VALUE, ("--batch-size",)),
        (Problem.NO_VALUE, ("--batch-size", "--eager")),
        (Problem.NO_VALUE, ("--names",)),
        (Problem.NO_VALUE, ("--layers", "1")),
        (Problem.NO_VALUE, ("--config.a",)),
        (Problem.SWITCH, ("--eager=true",)),
        (Problem.NO_KEYS, ("--batch-size.a", "8")),
        (Problem.TYPE, ("--batch-size", "8.5")),
        (Problem.TYPE, ("--batch-size", "8k")),
        (Problem.TYPE, ("--batch-size=",)),
        (Problem.TYPE, ("--length", "1.5K")),
        (Problem.TYPE, ("--length", "long")),
        (Problem.TYPE, ("--share", "most")),
        (Problem.TYPE, ("--strict", "yes")),
        (Problem.TYPE, ("--config", "{a: 1}")),
        (Problem.TYPE, ("--config", "3")),
        (Problem.TYPE, ("--headers", "*")),
        (Problem.TYPE, ("--loader", "{a: 1}")),
        (Problem.TYPE, ("--folder", "")),
        (Problem.TYPE, ("--layers", "1", "two")),
        (Problem.TYPE, ("--graphs", "1,two")),
        (Problem.TYPE, ("--over", "depth=deep")),
        (Problem.CHOICE, ("-O", "3")),
        (Problem.CHOICE, ("-O3",)),
        (Problem.CHOICE, ("--over", "mode=auto")),
        (Problem.UNKNOWN, ("--over", "dept=3")),
        (Problem.TWICE, ("--over", "depth=3;depth=4")),
        (Problem.TWICE, ("--eager", "--no-eager")),
        (Problem.TWICE, ("--batch-size", "8", "-bs", "9")),
        (Problem.TWICE, ("--config.a=1", "--config.a=2")),
        (Problem.TWICE, ("--config", "{}", "--config.a=2")),
        (Problem.DEAD, ("--iterations", "3")),
        (Problem.RAISES, ("--capture", "3")),
    ],
)
def test_each_fault_is_found(problem: Problem, words: tuple[str, ...]) -> None:
    """One wrong word gives one fault of its kind."""
    assert [problem] == found(*words)


def test_missing_required_option_is_a_fault() -> None:
    """What the parser would ask for is asked for before."""
    assert (Fault("model", Problem.REQUIRED),) == faults(LIST, ("--eager",))


@pytest.mark.parametrize("words", [("--batch-size=8",), ("-O2",), ("--config.a", "1"), ("--batch_size", "8")])
def test_parser_takes_no_other_way_of_writing_than_its_own(words: tuple[str, ...]) -> None:
    """Joined values, joined short ones, keys after a dot and underscores are unknown where they are no way."""
    plain = LIST.model_copy(update={"attached": False, "dotted": False, "underscores": False})

    assert [Problem.UNKNOWN] == found(*words, given_list=plain)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--batch-sizes", "did you mean --batch-size?"),
        ("--batch", "did you mean --batch-size?"),
        ("--bat", "did you mean --batch-size?"),
        ("--swap", "was in 1; gone since"),
        ("--warp", "came after 2; 3 has it"),
        ("--depth", "was in 1; gone since; write --over depth=..."),
        ("--zzzzzzzz", ""),
    ],
)
def test_unknown_option_is_told_with_its_nearest(word: str, hint: str) -> None:
    """The nearest spelling, the release that has it, or the option that took it over."""
    (fault,) = faults(LIST, ("m", f"{word}=1"))

    assert hint == fault.hint


def test_wrong_choice_is_told_with_the_choices() -> None:
    """A short enumeration is shown whole, with the nearest first."""
    (fault,) = faults(LIST, ("m", "--over", "mode=onn"))

    assert "--over mode=onn: value is not among the choices (did you mean on? choices: on, off)" == str(fault)


@pytest.mark.parametrize(
    ("env", "problems"),
    [
        ({"BATCH_SIZE": "8", "EAGER": "true", "GRAPHS": "1,2", "HOME": "/x"}, []),
        ({"BATCH_SIZE": "many"}, [Problem.TYPE]),
        ({"EAGER": "yes"}, [Problem.TYPE]),
        ({"GRAPHS": "1;2", "BATCH_SIZE": ""}, [Problem.TYPE, Problem.TYPE]),
    ],
)
def test_options_in_the_environment_are_checked(env: dict[str, str], problems: list[Problem]) -> None:
    """A variable that is an option's is held to its type; a switch is a bool there; others are let be."""
    assert problems == [fault.problem for fault in env_faults(LIST, env)]


def test_template_variables_are_checked() -> None:
    """Keys and values are held to their list, and what a template cannot do without is asked for."""
    variables = load("trtllm-triton-template-vars-0.9.0")
    required = [option.dest for option in variables.options if option.required]
    problems = {fault.word: fault.problem for fault in pair_faults(variables, [("decoupled_mode", "yes")])}

    assert Problem.TYPE == problems.pop("decoupled_mode=yes")
    assert set(required) - {"decoupled_mode"} == set(problems)


def test_users_option_replaces_the_same_one() -> None:
    """Any spelling of an option that is set already takes its place; the rest is appended; both are told."""
    merged = merge(
        ("{model}", "--batch-size", "8", "--eager"), ("-bs=16", "--share", "0.5", "--no-eager"), LIST
    )

    assert ("{model}", "-bs=16", "--no-eager", "--share", "0.5") == merged.words
    assert (("--batch-size 8", "-bs=16"), ("--eager", "--no-eager")) == merged.replaced


def test_users_key_of_a_config_stands_beside_other_keys() -> None:
    """Another key is added; the same key, or the whole config, gives way."""
    assert (("--config.a=1", "--config.b=2")) == merge(("--config.a=1",), ("--config.b=2",), LIST).words
    assert ("--config.a=2",) == merge(("--config.a=1",), ("--config.a=2",), LIST).words
    assert ("--config.a=2",) == merge(("--config", "{}"), ("--config.a=2",), LIST).words


def test_users_repeatable_option_is_added() -> None:
    """What may be given more than once does not replace."""
    assert ("--plugin", "a", "--plugin", "b") == merge(("--plugin", "a"), ("--plugin", "b"), LIST).words


def test_users_faults_are_told_at_once() -> None:
    """One error with every fault, and what only levelbench sets among them."""
    with pytest.raises(RequestError) as caught:
        merge(("{model}",), ("other", "--port", "1", "--batch-sise", "2"), LIST)

    expected = (
        "serve 2 does not take: other: levelbench sets this itself; --port 1: levelbench sets this itself; "
        "--batch-sise: unknown option (did you mean --batch-size?)"
    )
    assert expected == str(caught.value)
    assert "its options are listed in backends/options/engine-2.json" == caught.value.hint


WORDS = st.lists(
    st.sampled_from(
        [flag for option in LIST.options for flag in option.flags]
        + ["--nope", "--batch-size=1", "--config.a", "-O2", "x", "-1", "1.5", "{}", "", "-", "--"]
    ),
    max_size=8,
)


@given(WORDS)
def test_reading_loses_no_word(words: list[str]) -> None:
    """The parts of a command line, put together again, are the command line."""
    parts = list(read(LIST, words))

    assert words == [word for part in parts for word in part.words]


@given(WORDS, WORDS)
def test_merged_words_hold_what_the_user_gave(words: list[str], extra: list[str]) -> None:
    """Every word of the user is there, and nothing of the user's is given twice by it."""
    try:
        merged = merge(words, extra, LIST)
    except RequestError:
        return
    texts = [part.text for part in read(LIST, merged.words)]

    assert {part.text for part in read(LIST, extra)} <= set(texts)
    assert merge(words, (), LIST).words == tuple(words)


@pytest.mark.parametrize("name", names())
def test_every_list_loads(name: str) -> None:
    """No spelling twice, every option reachable, one option a line."""
    loaded = load(name)
    spellings = [flag for option in loaded.options for flag in option.flags]
    text = (options.FOLDER / f"{name}.json").read_text(encoding="utf-8")

    assert sorted(set(spellings)) == sorted(spellings)
    assert loaded.source
    assert all(option.flags or option.positional or option.env for option in loaded.options)
    assert len(loaded.options) == text.count('\n    {"')
    assert name.endswith(f"-{loaded.version}")


def test_unknown_list_is_told_with_the_nearest() -> None:
    """A misspelt name ends with the lists that there are."""
    with pytest.raises(
        RequestError, match=r"unknown option list 'vllm-0\.33'\. Did you mean 'vllm-0\.33\.0'"
    ):
        load("vllm-0.33")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "broken-1.json is not JSON"),
        (
            '{"version": "1", "command": [], "source": "", "options": [{"dest": "a", "kind": 1}]}',
            "options.0.kind",
        ),
        (
            '{"version": "1", "command": [], "source": "", "options": [{"dest": "a", "choices": []}]}',
            "choices",
        ),
    ],
)
def test_broken_list_says_where(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that is not JSON, or has a field that no option has, is told with its place."""
    monkeypatch.setattr(options, "FOLDER", tmp_path)
    (tmp_path / "broken-1.json").write_text(text, encoding="utf-8")

    with pytest.raises(RequestError, match=message):
        load("broken-1")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_adapters_argv_has_no_fault(case: Case) -> None:
    """Every flag that an adapter renders, to serve and in its steps, is one of its release, with a value that
    fits; an engine without a list could be given anything."""
    assert case.serve.options is not None
    check((*case.steps, case.serve))


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("vllm-0.33.0", ("{model}", "--swap-space", "4"), "was in 0.4.2; gone since"),
        ("vllm-0.4.2", ("--performance-mode", "throughput"), "came after 0.4.2; 0.33.0 has it"),
        ("vllm-0.4.2", ("--pipeline-parallel-size", "2"), "choices: 1"),
        ("vllm-0.4.2", ("--max-context-len-to-capture", "8192"), "--max-seq_len-to-capture"),
        ("lmdeploy-0.4.0", ("{model}", "--num-tokens-per-iter", "8"), "parsed, never passed on"),
        ("lmdeploy-0.18.0", ("{model}", "--cap", "chat"), "was in 0.4.0; gone since"),
        (
            "mlc-llm-serve-0.20.0",
            ("{model}", "--max-total-seq-length", "8"),
            "write --overrides max_total_seq_length",
        ),
        (
            "mlc-llm-serve-0.20.0",
            ("{model}", "--overrides", "opt=O3;max_num_seq=8"),
            "did you mean max_num_sequence?",
        ),
        ("tgi-3.3.7", ("-p", "80"), ""),
        ("trtllm-build-0.9.0", ("--gemm_plugin", "fp16"), "choices: float16, float32, bfloat16, disable"),
        ("llama.cpp-0c1e57098", ("--draft-max", "8"), "removed: use --spec-draft-n-max"),
        ("sglang-0.5.23", ("--model-path", "{model}", "--context-length", "8kb"), "wants size"),
    ],
)
def test_known_traps_are_told(name: str, words: tuple[str, ...], told: str) -> None:
    """What the engines' sources say of an option is said before a GPU is asked."""
    (fault,) = faults(load(name), words)

    assert told in fault.hint


@pytest.mark.parametrize("line", COMMANDS.strip().splitlines())
def test_commands_of_the_engines_docs_are_taken(line: str) -> None:
    """The command lines that the engines' own documents and the article's services use have no fault."""
    name, *words = line.split()

    assert () == faults(load(name), words)


def test_hidden_twins_are_known() -> None:
    """vLLM hides the --no- twin of a switch from its help, and takes it."""
    assert () == faults(load("vllm-0.33.0"), ("{model}", "--no-enable-prefix-caching"))


def test_environment_of_a_launcher_is_checked() -> None:
    """TGI reads every option from the environment as well, and some from there only."""
    tgi = load("tgi-3.3.7")
    env = {"MAX_TOTAL_TOKENS": "lots", "ATTENTION": "flashinfer", "PREFIX_CACHING": "no", "HF_HOME": "/data"}

    assert [Problem.TYPE, Problem.CHOICE] == [fault.problem for fault in env_faults(tgi, env)]


def test_server_of_ours_has_its_parsers_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of the server that we start xllamacpp with is what its parser takes."""
    path = DOCKERFILES / "context" / "llama_cpp_server.py"
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "xllamacpp", ModuleType("xllamacpp"))
    server = module_from_spec(spec)
    spec.loader.exec_module(server)
    listed = json.loads((options.FOLDER / "xllamacpp-2026.10.11549.json").read_text(encoding="utf-8"))
    for option in listed["options"]:
        option.pop("identity", None)

    assert walk(server._parser()) == listed["options"]


def test_server_of_ours_takes_only_what_llama_server_takes() -> None:
    """An argv means the same to both: each spelling is llama-server's, with its type."""
    whole = load("llama.cpp-0c1e57098")
    for option in load("xllamacpp-2026.10.11549").options:
        (flag,) = option.flags
        original = whole.spelled(flag)
        assert original is not None, flag
        assert (original.type, original.nargs, original.identity) == (
            option.type,
            option.nargs,
            option.identity,
        )
