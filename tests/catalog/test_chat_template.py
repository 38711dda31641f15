"""Prompts as the model's own template writes them, in the three forms that engines take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from orchestrator.catalog import chat_template
from orchestrator.catalog.chat_template import ChatTemplate, Rendered
from orchestrator.domain.prompt import Prompt
from orchestrator.errors import CellError, Interrupted
from quantize import synthetic

BOS = "<|begin_of_text|>"
HEAD, END = "<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>"
USER = HEAD.format("user") + "hi" + END + HEAD.format("assistant")
# one turn in brackets, system text inside the first; roles that do not alternate are refused
BRACKETS = """
{%- for message in messages -%}
  {%- if message.role == 'system' -%}
    {{ raise_exception('no system role here') }}
  {%- endif -%}
  {{ bos_token }}[Q] {{ message.content.strip() }} [/Q]
{%- endfor -%}
"""
# no begin-of-text, and blocks on lines of their own which must leave no white space behind
MARKED = """{% for message in messages %}
    {% if loop.first and message.role != 'system' %}
<|im_start|>system
default<|im_end|>
    {% endif %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made model; tests only read it."""
    folder = tmp_path_factory.mktemp("templates")
    synthetic.make("tiny", folder)
    return folder


def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def changed(tiny: Path, folder: Path, **config: Any) -> Path:
    """The made model's tokenizer with another configuration."""
    shutil.copy(tiny / "tokenizer.json", folder)
    before = json.loads((tiny / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**before, **config}), "utf-8")
    return folder


def loaded(folder: Path) -> ChatTemplate:
    return chat_template.load(folder, tokenizer(folder))


def one(folder: Path, prompt: str = "hi", system: str | None = None) -> Rendered:
    (found,) = loaded(folder).render((Prompt.of(prompt),), system)
    return found


def no_bos_of_its_own(folder: Path) -> ChatTemplate:
    """A template without begin-of-text and a tokenizer that adds none."""
    words = tokenizer(folder)
    words.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    return ChatTemplate(MARKED, {"bos_token": BOS}, words)


def test_text_has_no_begin_of_text_and_the_others_have_one(tiny: Path) -> None:
    """An engine that adds its own would make two of one."""
    found = one(tiny)
    begin = tokenizer(tiny).token_to_id(BOS)

    assert (USER, BOS + USER) == (found.text, found.text_with_bos)
    assert 1 == found.tokens.count(begin)
    assert begin == found.tokens[0]


def test_tokens_are_what_an_engine_would_make_of_the_text(tiny: Path) -> None:
    """The tokenizer adds begin-of-text to the bare text; then ids and text mean the same."""
    found = one(tiny, "What is it?\n\nSay it in a few words: naïve \u2028 日本", "be brief")

    assert tuple(tokenizer(tiny).encode(found.text).ids) == found.tokens


def test_a_system_prompt_comes_first(tiny: Path) -> None:
    """As a message of its own role."""
    assert HEAD.format("system") + "be brief" + END + USER == one(tiny, system="be brief").text


def test_begin_of_text_that_the_template_writes_twice_is_one(tiny: Path, tmp_path: Path) -> None:
    """Some templates write it in words and by name."""
    found = one(changed(tiny, tmp_path, chat_template="{{ bos_token }}" + BOS + "x"))

    assert ("x", f"{BOS}x") == (found.text, found.text_with_bos)


def test_begin_of_text_comes_from_the_tokenizer_where_the_template_has_none(
    tiny: Path, tmp_path: Path
) -> None:
    """The engine would add it too."""
    assert one(changed(tiny, tmp_path, chat_template="x")).text_with_bos == f"{BOS}x"


def test_a_model_without_begin_of_text_gets_none(tiny: Path, tmp_path: Path) -> None:
    """Neither its template nor its tokenizer has one, or it names none at all."""
    (found,) = no_bos_of_its_own(tiny).render((Prompt.of("hi"),), None)
    nameless = one(changed(tiny, tmp_path, chat_template="x", bos_token=None))

    assert found.text == found.text_with_bos
    assert tokenizer(tiny).token_to_id(BOS) not in found.tokens
    assert "x" == nameless.text_with_bos


def test_blocks_on_lines_of_their_own_leave_no_white_space(tiny: Path, tmp_path: Path) -> None:
    """As the templates' authors saw it: trimmed and stripped blocks."""
    assert (
        "<|im_start|>system\ndefault<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        == one(changed(tiny, tmp_path, chat_template=MARKED)).text
    )


def test_json_is_not_escaped_for_html(tiny: Path, tmp_path: Path) -> None:
    """Jinja's own filter would write \\u003c."""
    source = "{{ messages[0] | tojson }}{{ messages[0].content | tojson(indent=2) }}"

    assert (
        '{"role": "user", "content": "<é>"}"<é>"'
        == one(changed(tiny, tmp_path, chat_template=source), "<é>").text
    )


def test_loops_may_be_left_and_dates_asked_for(tiny: Path, tmp_path: Path) -> None:
    """Templates of today do both."""
    source = "{% for m in messages %}{% break %}{% endfor %}{{ strftime_now('%%') }}"

    assert "%" == one(changed(tiny, tmp_path, chat_template=source)).text


def test_a_list_of_templates_has_a_default(tiny: Path, tmp_path: Path) -> None:
    """Others are for tools and retrieval."""
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]

    assert "yes" == one(changed(tiny, tmp_path, chat_template=named)).text


def test_a_file_of_its_own_wins(tiny: Path, tmp_path: Path) -> None:
    """Newer models keep the template beside the configuration."""
    folder = changed(tiny, tmp_path)
    (folder / "chat_template.jinja").write_text("from the file", "utf-8")

    assert "from the file" == one(folder).text


def test_named_tokens_may_be_objects(tiny: Path, tmp_path: Path) -> None:
    """Older configurations hold the whole token."""
    whole = {"__type": "AddedToken", "content": BOS, "lstrip": False, "normalized": False}
    folder = changed(tiny, tmp_path, bos_token=whole, chat_template="{{ bos_token }}x{{ eos_token }}")

    assert (f"x{END}", f"{BOS}x{END}") == (one(folder).text, one(folder).text_with_bos)


def test_a_template_that_refuses_is_the_cells_fault(tiny: Path, tmp_path: Path) -> None:
    """What it said is told, with the roles that it was given."""
    folder = changed(tiny, tmp_path, chat_template=BRACKETS)

    assert "[Q] hi [/Q]" == one(folder).text
    with pytest.raises(CellError, match="cannot render system and user: no system role here"):
        one(folder, system="be brief")


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__.__mro__ }}{{ 1 / 0 }}", "{{ messages.append(1) }}", "{{ messages[0].content + 1 }}"],
)
def test_a_template_that_fails_or_does_more_than_it_may_is_the_cells_fault(
    tiny: Path, tmp_path: Path, source: str
) -> None:
    """It runs in a sandbox."""
    with pytest.raises(CellError, match="chat template cannot render user"):
        one(changed(tiny, tmp_path, chat_template=source))


def test_a_signal_while_a_template_renders_is_no_fault_of_it(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on to where the engine is taken down."""

    def interrupted(_: str) -> str:
        raise Interrupted("SIGTERM")

    monkeypatch.setattr(chat_template, "_now", interrupted)
    with pytest.raises(Interrupted):
        one(changed(tiny, tmp_path, chat_template="{{ strftime_now('%Y') }}"))


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        (None, "has no chat template: neither chat_template.jinja nor one in tokenizer_config.json"),
        ("{% if %}", "the model's chat template is broken"),
        (5, "neither text nor named ones"),
        ([{"name": "x"}], "neither text nor named ones"),
        ([{"name": "tool_use", "template": "a"}], "no chat template named default, but tool_use"),
    ],
)
def test_a_missing_or_broken_template_is_told(tiny: Path, tmp_path: Path, stated: Any, reason: str) -> None:
    """With what to do about it."""
    with pytest.raises(CellError, match=reason) as caught:
        loaded(changed(tiny, tmp_path, chat_template=stated))

    assert "renders the template itself" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "cannot read"), ("{", "cannot read"), ("[]", "no object")]
)
def test_an_unreadable_configuration_is_told(
    tiny: Path, tmp_path: Path, text: str | None, reason: str
) -> None:
    """The model's folder is not whole."""
    if text is not None:
        (tmp_path / "tokenizer_config.json").write_text(text)
    with pytest.raises(CellError, match=reason):
        chat_template.load(tmp_path, tokenizer(tiny))
