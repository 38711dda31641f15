# LMDeploy's own image with the texts that its quantiser calibrates on, for a step has no network
FROM openmmlab/lmdeploy:v0.18.0-cu12.8
LABEL levelbench=1 \
      levelbench.backend=lmdeploy-awq \
      levelbench.release=current \
      levelbench.version="0.18.0 with calibration texts"

ENTRYPOINT []
CMD []

ENV HF_HOME=/opt/huggingface
RUN python3 -c 'from datasets import load_dataset; load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="train")' \
    && chmod -R a+rwX /opt/huggingface
