"""A checkpoint that is a model without training state: a converted one, or the best of a run."""

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from medslip_jax.checkpoints.failures import error_code, quiet, reason
from medslip_jax.checkpoints.integrity import write_digests


def write_model(directory: Path, variables: Mapping, *, config: Mapping, info: Mapping) -> None:
    """Writes a checkpoint without training state into an empty directory, which need not exist; one process calls it.

    Args:
      directory: of the checkpoint; the caller gives it its final name once all is written.
      variables: {"params", "batch_stats"}.
      config: what `read_config` will give.
      info: what `read_info` will give.

    Raises:
      OSError: not all of it could be written.
    """
    args = ocp.args.Composite(
        model=ocp.args.StandardSave({"params": variables["params"], "batch_stats": variables["batch_stats"]}),
        config=ocp.args.JsonSave(dict(config)),
        info=ocp.args.JsonSave(dict(info)),
    )
    # Rather than have a disk fill up while Orbax writes.
    if shutil.disk_usage(directory.parent).free < sum(np.asarray(x).nbytes for x in jax.tree.leaves(variables)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    # The process that calls this writes; by default Orbax would wait for all others of the run.
    number = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=number, active_processes={number}, barrier_sync_key_prefix="write_model"
    )
    handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(multiprocessing_options=alone))
    with quiet(), ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        try:
            checkpointer.save(directory, args=args, force=True)
        except ValueError as error:  # how tensorstore reports a full disk
            code = error_code(error)
            raise OSError(os.strerror(code) if code else reason(error)) from error
    write_digests(directory)
