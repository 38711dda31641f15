# Text Generation Inference's own image
FROM ghcr.io/huggingface/text-generation-inference:2.0.4
LABEL levelbench=1 \
      levelbench.backend=tgi \
      levelbench.release=2024-06 \
      levelbench.version="2.0.4"

ENTRYPOINT []
CMD []

