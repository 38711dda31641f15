"""What belongs to a place or a person is taken out of texts; what belongs to the run stays."""

from __future__ import annotations

import pytest

from orchestrator.store.scrub import Private

PRIVATE = Private(
    folders={"/home/jane/cache": "{cache}", "/home/jane": "{home}", "/big/runs": "{runs}"},
    hosts=frozenset({"lab-7", "lab-7.example.org", "10.1.2.3"}),
    users=frozenset({"jane", "root", "jd"}),
    secrets=frozenset({"s3cr3t/with+signs"}),
).sparing(("llama-cpp-current-small-defaults-u1", "small"))
FAKE_TOKEN = "hf_" + "a1B2" * 6


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("load /home/jane/cache/models/x.gguf", "load {cache}/models/x.gguf"),
        ("/home/jane/other.txt", "{home}/other.txt"),
        ("/home/janet/x", "{path}/x"),
        ("at /big/runs/2026/x", "at {runs}/2026/x"),
        ("/scratch/of-jim/x.log:3", "{path}/x.log:3"),
        ("file:///home/jim/x", "{path}/x"),
        ("--log='/var/log/engine.log'", "--log='{path}/engine.log'"),
        ("lab-7 says", "{host} says"),
        ("LAB-7.example.org:80", "{host}:80"),
        ("lab-70 and mylab-7", "lab-70 and mylab-7"),
        ("from 10.1.2.3:80", "from {host}:80"),
        ("110.1.2.30", "110.1.2.30"),
        ("user Jane logged in", "user {user} logged in"),
        ("root of jd", "root of {user}"),
        (f"token {FAKE_TOKEN}.", "token {secret}."),
        ("key=s3cr3t/with+signs!", "key={secret}!"),
        ("https://jane:pw@host/x", "https://{secret}@host/x"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer {secret}"),
        ("api_key = 'abcdefghijklmnop'", "api_key = '{secret}'"),
        ("MY_TOKEN=abcdefghijklmnop", "MY_TOKEN={secret}"),
    ],
)
def test_private_things_go(text: str, clean: str) -> None:
    """Also in capitals, in quotes, at the end of a sentence."""
    assert clean == PRIVATE.text(text)


@pytest.mark.parametrize(
    "text",
    [
        "0.00.187.984 I srv load_model: initializing, n_slots = 4, kv_unified = 'true'",
        "n_tokens = 512, EOS token = 128009 '<|eot_id|>', max_tokens=1024",
        "GET /v1/chat/completions 200", "http://127.0.0.1:43445/health", "/usr/lib/python3/site.py",
        "/models/small", "vllm/vllm-openai:v0.4.2", "5 tok/s, 3 ms/token", "sha256:6bf03e93a603558fef97",
        "https://huggingface.co/meta-llama/x",
    ],
)  # fmt: skip
def test_the_engines_own_words_stay(text: str) -> None:
    """A log that is scrubbed to pieces proves nothing."""
    assert text == PRIVATE.text(text)


def test_values_are_scrubbed_wherever_they_stand() -> None:
    """Lists, names, and what a name says to be secret."""
    value = {"argv": ["x", "/home/jane/y"], "n": 5, "lab-7": None, "HF_TOKEN": "any", "tokens_from": "usage"}

    assert {
        "argv": ["x", "{home}/y"], "n": 5, "{host}": None, "HF_TOKEN": "{secret}", "tokens_from": "usage",
    } == PRIVATE.value(value)  # fmt: skip


def test_a_host_called_like_an_engine_gives_nobody_away() -> None:
    """And must not tear the run's own names apart."""
    named = Private({}, frozenset({"small", "llama"}), frozenset({"current"}), frozenset())

    assert "{user} {host}" == named.text("current small")
    spared = named.sparing(("llama-cpp-current-small-defaults-u1",))
    assert "llama-cpp-current-small" == spared.text("llama-cpp-current-small")
    assert "current small llama" == spared.text("current small llama")
