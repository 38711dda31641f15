# Text Generation Inference's own image
FROM ghcr.io/huggingface/text-generation-inference:3.3.7
LABEL levelbench=1 \
      levelbench.backend=tgi \
      levelbench.release=current \
      levelbench.version="3.3.7"

ENTRYPOINT []
CMD []

