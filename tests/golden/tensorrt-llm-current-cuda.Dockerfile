# TensorRT-LLM's own image
FROM nvcr.io/nvidia/tensorrt-llm/release:1.2.1
LABEL levelbench=1 \
      levelbench.backend=tensorrt-llm \
      levelbench.release=current \
      levelbench.version="1.2.1"

ENTRYPOINT []
CMD []

