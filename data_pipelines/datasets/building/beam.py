"""The encoding of a build as an Apache Beam pipeline (extra [beam]): the same parts, written by its workers."""

import contextlib
import functools
import io
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.datasets.building.parts import Part, encode_parts, missing_parts, write_part
from data_pipelines.datasets.building.plan import Plan
from medslip_jax.errors import InputError


def pipeline_of(options: Sequence[str]):
    """An empty pipeline.

    Args:
      options: Beam's flags, such as "--runner=DirectRunner" or "--runner=FlinkRunner", "--flink_master=...".

    Raises:
      InputError: apache-beam is not installed, or the flags are not Beam's.
    """
    logging.disable(logging.WARNING)  # on what a Google cloud would need
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError("--beam_runner: needs Apache Beam; `pip install medslip_jax[beam]`") from error
    finally:
        logging.disable(logging.NOTSET)
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            parsed = PipelineOptions(["--default_sdk_harness_log_level=ERROR", *options])
            parsed.get_all_options()  # which reads them; otherwise that waits until the pipeline runs
            return beam.Pipeline(options=parsed)
    except (SystemExit, ValueError) as error:
        said = usage.getvalue().strip().rpartition("error: ")[2] or error
        raise InputError(f"--beam_runner, --beam_option: {said}") from error


def encode_parts_on_beam(plan: Plan, parts: Sequence[Part], *, pipeline) -> None:
    """Makes the parts that are not there yet.

    Args:
      plan: its `encode` and `policy` go to the workers.
      parts: their paths and the source images must be the same for all workers, on a shared or mounted disk.
      pipeline: of `pipeline_of`.

    Raises:
      InputError: policy "fail" and a row that cannot be used, or the workers have written elsewhere.
    """
    import apache_beam as beam

    missing = missing_parts(parts)
    for part in missing:  # not in the pipeline's graph, whose size runners limit
        _jobs_file(part.path).write_bytes(pickle.dumps(part.jobs))
    write = functools.partial(_write, encode=plan.encode, policy=plan.policy, wanted_drops=plan.wanted_drops)
    with pipeline:
        # Reshuffle, as a runner may otherwise fuse the steps and leave all parts to one worker.
        paths = [str(part.path.absolute()) for part in missing]
        _ = pipeline | beam.Create(paths) | beam.Reshuffle() | beam.Map(write)
    left = [part for part in missing if not part.path.exists()]
    # A part that policy "fail" forbade is not there; to make it here says which row it was.
    encode_parts(plan, left[:1], workers=1, name="beam")
    if left:
        where = left[0].path.parent.absolute()
        raise InputError(f"{where}: lacks {len(left)} parts; Beam's workers must reach the data set under that path")


def _write(path: str, **settings) -> str:
    # Written by this very build, in its own directory.
    return write_part(Part(Path(path), pickle.loads(_jobs_file(Path(path)).read_bytes())), **settings)


def _jobs_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.jobs")
