# BentoML, in an environment of its own beside the engine: wheels for several Pythons lie in the context, and pip
# takes those for the one of this image
FROM vllm/vllm-openai:v0.4.2 AS serving
LABEL levelbench=1 \
      levelbench.backend=vllm \
      levelbench.release=2024-06 \
      levelbench.version="0.4.2"

USER 0
RUN dpkg -s python3 python3-venv >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; }

COPY serving/lock.txt /serving/
COPY serving/wheels/ /serving/wheels/
RUN python3 -m venv /opt/serving \
    && /opt/serving/bin/python3 -m pip install --no-index --find-links /serving/wheels --no-deps --require-hashes \
       --no-cache-dir --disable-pip-version-check -r /serving/lock.txt

# vLLM's own image
FROM vllm/vllm-openai:v0.4.2
LABEL levelbench=1 \
      levelbench.backend=vllm \
      levelbench.release=2024-06 \
      levelbench.version="0.4.2"

ENTRYPOINT []
CMD []


# The service before it
USER 0
RUN dpkg -s python3 >/dev/null 2>&1 || { \
      apt-get update && apt-get install -y --no-install-recommends python3 \
      && rm -rf /var/lib/apt/lists/*; }

COPY --from=serving /opt/serving /opt/serving
COPY serving/files/ /opt/levelbench/
