# SGLang's own image
FROM lmsysorg/sglang:v0.5.23
LABEL levelbench=1 \
      levelbench.backend=sglang \
      levelbench.release=current \
      levelbench.version="0.5.23"

ENTRYPOINT []
CMD []

