# vLLM's own image
FROM vllm/vllm-openai:v0.33.0
LABEL levelbench=1 \
      levelbench.backend=vllm \
      levelbench.release=current \
      levelbench.version="0.33.0"

ENTRYPOINT []
CMD []

