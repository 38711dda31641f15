# LMDeploy's own image with the texts that its quantiser calibrates on, for a step has no network
FROM openmmlab/lmdeploy:v0.4.0
LABEL levelbench=1 \
      levelbench.backend=lmdeploy-awq \
      levelbench.release=2024-06 \
      levelbench.version="0.4.0 with calibration texts"

COPY files/ /opt/levelbench/
ENTRYPOINT []
CMD []

ENV HF_HOME=/opt/huggingface
RUN python3 -c 'from datasets import load_dataset; [load_dataset("ptb_text_only", "penn_treebank", split=s) for s in ("train", "validation")]' \
    && chmod -R a+rwX /opt/huggingface
