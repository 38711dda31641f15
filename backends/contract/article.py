"""What the published benchmark's services did alike around their engines, which no setting of an engine says.
Adapters state it with their `published` profile."""

from __future__ import annotations

from backends.contract.backend import Setting
from backends.contract.values import Source

SERVING_LAYER = Setting(
    unmet="BentoML 1.2.16 in front of the engine",
    reason="each request went through one more Python HTTP server, whose time is in every published figure",
    source=Source(text="bentoml/llm-bench at cdae027, userdef.py; the services' bentofile.yaml"),
)
IN_PROCESS = Setting(
    unmet="the engine within the service's own process",
    reason="the article's service imported the engine; here the engine's own server stands behind the service: one "
    "HTTP hop over the loopback more, and two Python processes instead of one",
    source=Source(
        text="service.py of bentoml/BentoVLLM at 19c02ae, BentoLMDeploy at 6e2bed1, BentoMLCLLM at 1102e07"
    ),
)
OPENAI_CLIENT = Setting(
    unmet="the openai package between service and engine",
    reason="the article's service asked its engine through AsyncOpenAI; here through aiohttp",
    source=Source(text="bentoml/BentoTGI at db84f9b, service.py"),
)
GRPC = Setting(
    unmet="gRPC between service and engine",
    reason="the article's service asked its engine over one gRPC stream a request; here over HTTP",
    source=Source(text="bentoml/BentoTRTLLM at 381c230, service.py"),
)
EMPTY_SYSTEM_BLOCK = Setting(
    unmet="an empty system block in prompts without a system prompt",
    reason="the service's own template kept the block; here a message that is not there is not rendered",
    source=Source(text="bentoml/llm-bench at cdae027, benchmark.py; the service's PROMPT_TEMPLATE"),
)
