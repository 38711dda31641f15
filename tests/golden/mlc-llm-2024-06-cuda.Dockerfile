# MLC-LLM 0.1.dev1251 out of its commit: its wheels are gone. TVM's compiler comes from the commit that the
# repository names as its submodule. A -devel base, since compiling a model calls nvcc.
FROM nvidia/cuda:12.1.1-devel-ubuntu22.04
LABEL levelbench=1 \
      levelbench.backend=mlc-llm \
      levelbench.release=2024-06 \
      levelbench.version="0.1.dev1251 (edc434d0)"

ENV DEBIAN_FRONTEND=noninteractive
RUN dpkg -s git git-lfs ca-certificates curl build-essential python3-dev python3-pip python3-venv llvm-15-dev libpolly-15-dev zlib1g-dev libzstd-dev libxml2-dev >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends git git-lfs ca-certificates curl build-essential python3-dev python3-pip python3-venv llvm-15-dev libpolly-15-dev zlib1g-dev libzstd-dev libxml2-dev \
      && rm -rf /var/lib/apt/lists/*; }

RUN curl -fsSL https://static.rust-lang.org/rustup/archive/1.27.1/x86_64-unknown-linux-gnu/rustup-init \
      -o /tmp/rustup-init && chmod +x /tmp/rustup-init \
    && /tmp/rustup-init -y --profile minimal --default-toolchain 1.78.0 && rm /tmp/rustup-init
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir cmake==3.29.3 ninja==1.11.1.1 \
      numpy==1.26.4 torch==2.3.0 fastapi==0.111.0 uvicorn==0.29.0 shortuuid==1.0.13 safetensors==0.4.3 \
      requests==2.32.2 tqdm==4.66.4 tiktoken==0.7.0 prompt_toolkit==3.0.43 openai==1.30.1 pydantic==2.7.1 \
      psutil==5.9.8 decorator==5.1.1 attrs==23.2.0 cloudpickle==3.0.0 scipy==1.13.0 ml-dtypes==0.4.0 \
      typing_extensions==4.11.0 transformers==4.41.0 sentencepiece==0.2.0
ENV PATH=/opt/venv/bin:/root/.cargo/bin:/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1
RUN git init -q /opt/mlc-llm && cd /opt/mlc-llm \
    && git fetch -q --depth 1 https://github.com/mlc-ai/mlc-llm edc434d08810d88998338c1910c6838e8fc45f01 \
    && git checkout -q FETCH_HEAD && git submodule update -q --init --recursive --depth 1 \
    && test "$(git -C 3rdparty/tvm rev-parse HEAD)" = ce58d63453ff83b930fa2be665647621b2eec4d2
# The compiler (libtvm), then the engine; written out, since gen_cmake_config.py asks on its standard input
RUN mkdir -p /opt/mlc-llm/3rdparty/tvm/build && cd /opt/mlc-llm/3rdparty/tvm/build \
    && cp ../cmake/config.cmake . && printf '%s\n' \
      'set(CMAKE_BUILD_TYPE RelWithDebInfo)' 'set(HIDE_PRIVATE_SYMBOLS ON)' \
      'set(USE_LLVM "llvm-config-15 --ignore-libllvm --link-static")' \
      'set(USE_CUDA ON)' 'set(USE_CUBLAS ON)' 'set(USE_CUTLASS ON)' 'set(USE_THRUST ON)' \
      'set(USE_FLASHINFER ON)' 'set(FLASHINFER_CUDA_ARCHITECTURES "80;90")' \
      'set(CMAKE_CUDA_ARCHITECTURES "80;90")' >> config.cmake \
    && cmake -G Ninja .. && ninja
RUN mkdir -p /opt/mlc-llm/build && cd /opt/mlc-llm/build && printf '%s\n' \
      'set(CMAKE_BUILD_TYPE RelWithDebInfo)' \
      'set(USE_CUDA ON)' 'set(USE_CUBLAS ON)' 'set(USE_CUTLASS ON)' 'set(USE_THRUST ON)' \
      'set(USE_FLASHINFER ON)' 'set(FLASHINFER_CUDA_ARCHITECTURES "80;90")' \
      'set(CMAKE_CUDA_ARCHITECTURES "80;90")' > config.cmake \
    && cmake -G Ninja .. && ninja
ENV PYTHONPATH=/opt/mlc-llm/python:/opt/mlc-llm/3rdparty/tvm/python TVM_LIBRARY_PATH=/opt/mlc-llm/3rdparty/tvm/build
RUN printf '#!/bin/sh\nexec python3 -m mlc_llm "$@"\n' > /usr/local/bin/mlc_llm && chmod +x /usr/local/bin/mlc_llm
COPY files/ /opt/levelbench/
ENTRYPOINT []
CMD []
