# llama.cpp's own image with its converter
FROM ghcr.io/ggml-org/llama.cpp:full-b11206
LABEL levelbench=1 \
      levelbench.backend=llama-cpp-convert \
      levelbench.release=current \
      levelbench.version="b11206"

ENTRYPOINT []
CMD []

