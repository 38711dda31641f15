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
EMPTY_SYSTEM_BLOCK = Setting(
    unmet="an empty system block in prompts without a system prompt",
    reason="the service's own template kept the block; here a message that is not there is not rendered",
    source=Source(text="bentoml/llm-bench at cdae027, benchmark.py; the service's PROMPT_TEMPLATE"),
)
