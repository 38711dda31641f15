# Triton 24.04 with TensorRT-LLM 0.9.0: the image holds the library and trtllm-build, but neither the converter
# nor the Python models of the repository
FROM nvcr.io/nvidia/tritonserver:24.04-trtllm-python-py3
LABEL levelbench=1 \
      levelbench.backend=tensorrt-llm \
      levelbench.release=2024-06 \
      levelbench.version="0.9.0 under Triton 24.04"

COPY files/ /opt/levelbench/
ENTRYPOINT []
CMD []

RUN dpkg -s git ca-certificates >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends git ca-certificates \
      && rm -rf /var/lib/apt/lists/*; }

RUN git init -q /opt/tensorrt_llm && cd /opt/tensorrt_llm && git remote add origin https://github.com/NVIDIA/TensorRT-LLM \
    && git sparse-checkout set examples \
    && git fetch -q --depth 1 --filter=blob:none origin 250d9c293d5edbc2a45c20775b3150b1eb68b364 \
    && GIT_LFS_SKIP_SMUDGE=1 git checkout -q FETCH_HEAD && rm -rf .git

RUN git init -q /opt/tensorrtllm_backend && cd /opt/tensorrtllm_backend && git remote add origin https://github.com/triton-inference-server/tensorrtllm_backend \
    && git sparse-checkout set all_models/inflight_batcher_llm \
    && git fetch -q --depth 1 --filter=blob:none origin 76464e9be06600f3979acad9c14857938a66ff9f \
    && GIT_LFS_SKIP_SMUDGE=1 git checkout -q FETCH_HEAD && rm -rf .git

