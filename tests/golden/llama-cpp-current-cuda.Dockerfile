# llama.cpp's own image of its server
FROM ghcr.io/ggml-org/llama.cpp:server-cuda-b11206
LABEL levelbench=1 \
      levelbench.backend=llama-cpp \
      levelbench.release=current \
      levelbench.version="b11206"

ENTRYPOINT []
CMD []

