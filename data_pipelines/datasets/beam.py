"""The encoding of a build as an Apache Beam pipeline (extra [beam]): the same parts, written by its workers."""

import functools
from collections.abc import Sequence

from data_pipelines.datasets.parts import Part, encode_parts, write_part
from data_pipelines.datasets.plan import Plan
from medslip_jax.errors import InputError


def encode_parts_on_beam(plan: Plan, parts: Sequence[Part], *, options: Sequence[str]) -> None:
    """Makes the parts that are not there yet.

    Args:
      plan: its `encode` and `policy` go to the workers.
      parts: their paths and the source images must be the same for all workers, on a shared or mounted disk.
      options: Beam's flags, such as "--runner=DirectRunner" or "--runner=FlinkRunner", "--flink_master=...".

    Raises:
      InputError: apache-beam is not installed, or policy "fail" and a row that cannot be used.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError("--beam_runner: needs Apache Beam; `pip install medslip_jax[beam]`") from error
    write = functools.partial(write_part, encode=plan.encode, policy=plan.policy)
    missing = [part for part in parts if not part.path.exists()]
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        # Reshuffle, as a runner may otherwise fuse the steps and leave all parts to one worker.
        _ = pipeline | beam.Create(missing) | beam.Reshuffle() | beam.Map(write)
    # A part that policy "fail" forbade is not there; to make it here says which row it was.
    encode_parts(plan, [part for part in parts if not part.path.exists()], workers=1, name="beam")
