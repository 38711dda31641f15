# vLLM's own image
FROM vllm/vllm-openai:v0.4.2
LABEL levelbench=1 \
      levelbench.backend=vllm \
      levelbench.release=2024-06 \
      levelbench.version="0.4.2"

ENTRYPOINT []
CMD []

