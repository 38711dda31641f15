# LMDeploy's own image
FROM openmmlab/lmdeploy:v0.4.0
LABEL levelbench=1 \
      levelbench.backend=lmdeploy \
      levelbench.release=2024-06 \
      levelbench.version="0.4.0"

COPY files/ /opt/levelbench/
ENTRYPOINT []
CMD []

