"""`medslip launch`: the same training on TPU pods, GKE, Slurm, or several processes of one machine."""
