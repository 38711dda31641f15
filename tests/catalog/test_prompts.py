from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from orchestrator.catalog import prompts
from orchestrator.catalog.prompts import Category, PromptSet
from orchestrator.domain.prompt import Prompt
from orchestrator.domain.workload import PromptSource, PromptSpec
from orchestrator.errors import RequestError

LLAMA_CHARS_PER_TOKEN = 4.5  # English prose with Llama 3's vocabulary

OWN = PromptSpec(source=PromptSource.OWN)
DOLLY = PromptSpec(source=PromptSource.DOLLY)
AUTO = PromptSpec(source=PromptSource.AUTO)


def llama_like(text: str) -> int:
    return 1 + round(len(text) / LLAMA_CHARS_PER_TOKEN)


def line(**changes: str) -> bytes:
    prompt = {"instruction": "Why?", "context": "", "response": "So.", "category": "open_qa"}
    return json.dumps(prompt | changes).encode()


@pytest.fixture
def dolly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stand-in for dolly whose own sum is the expected one."""
    content = b"\n".join(line(instruction=f"Question {i}?", context="Text. ") for i in range(60)) + b"\n"
    path = tmp_path / "dolly.jsonl"
    path.write_bytes(content)
    monkeypatch.setattr(prompts, "DOLLY_SHA256", hashlib.sha256(content).hexdigest())
    return path


def test_own_set_has_enough_prompts_of_every_category() -> None:
    """Our own file holds at least 240 different prompts and each of dolly's categories often."""
    own = prompts.parse(prompts.OWN_PATH.read_bytes(), prompts.OWN_PATH)
    counts = Counter(p.category for p in own)

    assert 240 <= len({p.text for p in own})
    assert set(Category) == set(counts)
    assert 15 <= min(counts.values())


def test_own_set_gives_context_where_the_task_is_about_a_text() -> None:
    """Closed questions, extractions and summaries have a context, all others none; all have an answer."""
    about_a_text = {Category.CLOSED_QA, Category.INFORMATION_EXTRACTION, Category.SUMMARIZATION}
    own = prompts.parse(prompts.OWN_PATH.read_bytes(), prompts.OWN_PATH)

    assert [] == [p.text for p in own if bool(p.context) != (p.category in about_a_text)]
    assert [] == [p.text for p in own if not p.response]


def test_own_set_fits_the_articles_lengths() -> None:
    """At least 160 of our prompts have between 30 and 150 tokens, as the article's had."""
    assert 160 <= len(prompts.load(OWN, dolly_path=None, count_tokens=llama_like).prompts)


def test_own_set_is_chosen_by_name() -> None:
    """OWN takes our own set even where dolly is at hand."""
    assert prompts.OWN_NAME == prompts.load(OWN, dolly_path=Path("any"), count_tokens=llama_like).name


def test_dolly_is_taken_when_its_exact_file_is_there(dolly: Path) -> None:
    """AUTO and DOLLY read the file at the given path, context before instruction with nothing between."""
    wide = {"min_tokens": 0, "max_tokens": 99}
    for source in (PromptSource.AUTO, PromptSource.DOLLY):
        loaded = prompts.load(PromptSpec(source=source, **wide), dolly_path=dolly, count_tokens=len)

        assert prompts.DOLLY_NAME == loaded.name
        assert "Text. Question 7?" == loaded.prompts[7].text


@pytest.mark.parametrize("name", [None, "absent.jsonl", "."])
def test_auto_falls_back_to_own_set(tmp_path: Path, name: str | None) -> None:
    """AUTO without a readable dolly takes our own set."""
    path = tmp_path / name if name else None

    assert prompts.OWN_NAME == prompts.load(AUTO, dolly_path=path, count_tokens=llama_like).name


def test_auto_does_not_take_an_altered_dolly(dolly: Path) -> None:
    """AUTO takes our own set when the file at hand is not the known one."""
    dolly.write_bytes(dolly.read_bytes() + b"\n")

    assert prompts.OWN_NAME == prompts.load(AUTO, dolly_path=dolly, count_tokens=llama_like).name


def test_absent_dolly_is_a_request_error(tmp_path: Path) -> None:
    """DOLLY with an absent file says where to download it and where to put it."""
    path = tmp_path / "dolly.jsonl"
    with pytest.raises(RequestError, match="No such file") as caught:
        prompts.load(DOLLY, dolly_path=path, count_tokens=llama_like)

    assert prompts.DOLLY_URL in caught.value.hint
    assert str(path) in caught.value.hint


def test_dolly_without_a_path_is_a_request_error() -> None:
    """DOLLY with no path at all says where to download it."""
    with pytest.raises(RequestError, match="no path") as caught:
        prompts.load(DOLLY, dolly_path=None, count_tokens=llama_like)

    assert prompts.DOLLY_URL in caught.value.hint


def test_altered_dolly_is_a_request_error(dolly: Path) -> None:
    """DOLLY with a file of another sum names both sums."""
    dolly.write_bytes(b"something else")
    with pytest.raises(RequestError, match=prompts.DOLLY_SHA256) as caught:
        prompts.load(DOLLY, dolly_path=dolly, count_tokens=llama_like)

    assert hashlib.sha256(b"something else").hexdigest() in str(caught.value)


def test_both_bounds_are_included(dolly: Path) -> None:
    """A prompt of exactly the smallest or the largest length is kept, its neighbours are not."""
    lengths = {f"Text. Question {i}?": i for i in range(60)}
    spec = PromptSpec(source=PromptSource.DOLLY, min_tokens=2, max_tokens=38)
    kept = prompts.load(spec, dolly_path=dolly, count_tokens=lengths.__getitem__).prompts

    assert ("Text. Question 2?", "Text. Question 38?", 37) == (kept[0].text, kept[-1].text, len(kept))


def test_too_few_prompts_in_range_is_a_request_error() -> None:
    """A range that nearly nothing falls into is refused with the number that did."""
    spec = PromptSpec(source=PromptSource.OWN, min_tokens=5000, max_tokens=6000)

    with pytest.raises(RequestError, match="only 0 prompts of 5000 to 6000 tokens"):
        prompts.load(spec, dolly_path=None, count_tokens=llama_like)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{not json", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (line(category="poetry"), "category: Input should be"),
        (line(instruction=""), "instruction: String should have at least 1 character"),
        (line(extra="x"), "extra: Extra inputs"),
        (b'{"instruction": "Why?"}', "context: Field required"),
    ],
)
def test_malformed_line_is_named(bad: bytes, reason: str) -> None:
    """A line that is no prompt is an error with the file, the line number and the reason."""
    with pytest.raises(RequestError, match=rf"^some/file\.jsonl, line 2: {reason}"):
        prompts.parse(b"\n".join([line(), bad, line()]), Path("some/file.jsonl"))


def test_digest_follows_file_and_filter(dolly: Path) -> None:
    """The digest is stable, and another range, tokenizer or file gives another one."""

    def digest(spec: PromptSpec, shift: int = 0) -> str:
        return prompts.load(spec, dolly_path=dolly, count_tokens=lambda text: len(text) + shift).digest

    spec = PromptSpec(source=PromptSource.DOLLY, min_tokens=len("Text. Question 0?"), max_tokens=99)
    others = {
        digest(spec.model_copy(update={"max_tokens": 100})),
        digest(spec.model_copy(update={"source": PromptSource.OWN, "max_tokens": 9999})),
        digest(spec, shift=-1),
    }

    assert digest(spec) == digest(spec)
    assert 4 == len(others | {digest(spec)})


def test_order_draws_without_replacement() -> None:
    """Each pass over the set has every prompt once, and no two passes have the same order."""
    order = PromptSet("some", "", tuple(map(Prompt.of, "abcdefghijklmnopqrst"))).order(seed=1)
    passes = [list(islice(order, 20)) for _ in range(5)]

    assert [list(range(20))] * 5 == [sorted(p) for p in passes]
    assert 5 == len({tuple(p) for p in passes})


def test_order_is_seeded() -> None:
    """The same seed gives the same order on every machine and Python version, another seed another one."""
    some = PromptSet("some", "", tuple(map(Prompt.of, "abcdefgh")))

    assert [7, 5, 3, 1, 0, 6, 4, 2] == list(islice(some.order(20240605), 8))
    assert list(islice(some.order(1), 30)) != list(islice(some.order(2), 30))


def test_system_prompt_has_about_110_tokens() -> None:
    """The system prompt is one paragraph as long as the one which the article's services had."""
    text = prompts.system_prompt()

    assert "\n" not in text
    assert 100 <= llama_like(text) <= 150
    assert 90 <= len(text.split()) <= 115
