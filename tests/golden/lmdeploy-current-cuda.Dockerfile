# LMDeploy's own image
FROM openmmlab/lmdeploy:v0.18.0-cu12.8
LABEL levelbench=1 \
      levelbench.backend=lmdeploy \
      levelbench.release=current \
      levelbench.version="0.18.0"

ENTRYPOINT []
CMD []

