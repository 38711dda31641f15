# quantize.py of TensorRT-LLM 0.9.0 with NVIDIA's ammo, which lies on NVIDIA's index alone. Its calibration
# articles come into the image, for a step has no network.
FROM nvcr.io/nvidia/tritonserver:24.04-trtllm-python-py3
LABEL levelbench=1 \
      levelbench.backend=tensorrt-llm-ammo \
      levelbench.release=2024-06 \
      levelbench.version="0.9.0 with ammo 0.7.4"

ENTRYPOINT []
CMD []

RUN dpkg -s git ca-certificates >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends git ca-certificates \
      && rm -rf /var/lib/apt/lists/*; }

RUN git init -q /opt/tensorrt_llm && cd /opt/tensorrt_llm && git remote add origin https://github.com/NVIDIA/TensorRT-LLM \
    && git sparse-checkout set examples \
    && git fetch -q --depth 1 --filter=blob:none origin 250d9c293d5edbc2a45c20775b3150b1eb68b364 \
    && GIT_LFS_SKIP_SMUDGE=1 git checkout -q FETCH_HEAD && rm -rf .git

RUN pip install --no-cache-dir --extra-index-url https://pypi.nvidia.com nvidia-ammo==0.7.4 datasets==2.19.0
ENV HF_HOME=/opt/huggingface
RUN python3 -c 'from datasets import load_dataset; load_dataset("cnn_dailymail", name="3.0.0", split="train")' \
    && chmod -R a+rwX /opt/huggingface
