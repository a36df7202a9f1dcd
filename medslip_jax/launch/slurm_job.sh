# What a job of `medslip launch slurm` does. The words of the training and the exit codes are set above.
set -uo pipefail
code=0
# The training itself gets Slurm's SIGTERM and saves. A task that ends does not end the others at once: they may be
# writing the same checkpoint.
"${training[@]}" || code=$?
echo "training ended with $code, restart ${SLURM_RESTART_COUNT:-0} of $retries"
# preempted: saved on SIGTERM, stuck: hung; above 128: killed by a signal, as when another task was lost, but not by the
# SIGINT of who wants it to stop. Out of memory (srun's code) would come again.
if [[ $code -eq $preempted || $code -eq $stuck ||
  ($code -gt 128 && $code -ne $interrupted && $code -ne $out_of_memory) ]] &&
  [[ ${SLURM_RESTART_COUNT:-0} -lt $retries ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
