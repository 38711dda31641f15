# MLC-LLM out of MLC's own wheels, which PyPI does not carry. They are named by day: what the index gives is
# held within the release here, and noted down with its hashes. A -devel base, since compiling calls nvcc.
FROM nvidia/cuda:13.0.3-devel-ubuntu24.04
LABEL levelbench=1 \
      levelbench.backend=mlc-llm \
      levelbench.release=current \
      levelbench.version="0.20"

COPY files/ /opt/levelbench/
ENTRYPOINT []
CMD []

RUN dpkg -s python3 python3-venv git git-lfs ca-certificates >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3 python3-venv git git-lfs ca-certificates \
      && rm -rf /var/lib/apt/lists/*; }

RUN python3 -m venv /opt/venv && mkdir -p /opt/levelbench \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --pre -f https://mlc.ai/wheels \
         --report /opt/levelbench/wheels.json "mlc-llm-nightly-cu130>=0.20.dev0,<0.21" mlc-ai-nightly-cu130 \
    && /opt/venv/bin/pip freeze > /opt/levelbench/wheels.txt
ENV PATH=/opt/venv/bin:/usr/local/cuda/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1
