# modelopt 0.46.0 on TensorRT-LLM's own image, as its README asks for. Its calibration articles come into the
# image, for a step has no network.
FROM nvcr.io/nvidia/tensorrt-llm/release:1.2.1
LABEL levelbench=1 \
      levelbench.backend=tensorrt-llm-modelopt \
      levelbench.release=current \
      levelbench.version="modelopt 0.46.0"

ENTRYPOINT []
CMD []

RUN dpkg -s git ca-certificates >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends git ca-certificates \
      && rm -rf /var/lib/apt/lists/*; }

RUN git init -q /opt/model-optimizer && cd /opt/model-optimizer && git remote add origin https://github.com/NVIDIA/Model-Optimizer \
    && git sparse-checkout set examples/hf_ptq \
    && git fetch -q --depth 1 --filter=blob:none origin 43fd41a58d52c4e6e5dec1d1ff5989ecc737ae1a \
    && GIT_LFS_SKIP_SMUDGE=1 git checkout -q FETCH_HEAD && rm -rf .git

RUN pip install --no-cache-dir "nvidia-modelopt[hf]==0.46.0"
ENV HF_HOME=/opt/huggingface
RUN python3 -c 'from datasets import load_dataset; load_dataset("abisee/cnn_dailymail", name="3.0.0", split="train")' \
    && chmod -R a+rwX /opt/huggingface
