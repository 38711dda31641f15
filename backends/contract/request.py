"""How requests to a release are written: its wire shape, who renders the chat template, what it refuses."""

from __future__ import annotations

from enum import Enum

from pydantic import Field, JsonValue

from backends.contract.values import Value


class Dialect(str, Enum):
    """The wire shape of a streaming endpoint; `orchestrator.load.dialects` implements each.

    GENERATE_STREAM is TGI's `/generate_stream`, TENSOR_STREAM Triton's `generate_stream`, JSON_LINES
    LMDeploy's `/v1/chat/interactive`, RAW_TEXT the chunks of BentoML's `/generate`.
    """

    OPENAI_CHAT = "openai-chat"
    OPENAI_COMPLETIONS = "openai-completions"
    GENERATE_STREAM = "generate-stream"
    TENSOR_STREAM = "tensor-stream"
    JSON_LINES = "json-lines"
    RAW_TEXT = "raw-text"


class Template(str, Enum):
    """Who renders the model's chat template.

    MESSAGES: the engine. The others are rendered by the client, with the template of the model's own
    tokenizer_config.json: TEXT without begin-of-text (the engine adds it), TEXT_WITH_BOS with it, TOKENS as
    token ids, begin-of-text first.
    """

    MESSAGES = "messages"
    TEXT = "text"
    TEXT_WITH_BOS = "text-with-bos"
    TOKENS = "tokens"


class RequestField(str, Enum):
    """Fields of a request that not every release takes."""

    USAGE = "usage"
    SEED = "seed"
    IGNORE_EOS = "ignore_eos"
    TOP_P = "top_p"
    TEMPERATURE = "temperature"


class RequestSpec(Value):
    """What a request to a release looks like.

    `refused` are fields which the release answers with an error or silently ignores: they are not sent, and
    a workload that depends on one (IGNORE_EOS) is refused. `fields` are sent with every request and win over
    the workload's; objects are merged; each is a stated deviation. `path` replaces the dialect's own. What
    each dialect can carry, and which templates: docs/dialects.md.
    """

    dialect: Dialect
    template: Template = Template.MESSAGES
    path: str | None = None
    refused: tuple[RequestField, ...] = ()
    fields: dict[str, JsonValue] = Field(default_factory=dict)
