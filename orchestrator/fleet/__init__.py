"""Several GPU hosts: a batch job per cell group, handed to Slurm. Plan and results stay ours."""
