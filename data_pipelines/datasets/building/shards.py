"""Encoded records -> ArrayRecord files: the same bytes in every process, one record in memory at a time.

TFDS's own writer gives neither. It leaves the order of a record's fields to the hash seed of the process, and it keeps
a split in memory up to 1 GB, beyond which it asks for TensorFlow.
"""

from collections.abc import Iterable
from pathlib import Path

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core.example_serializer import ExampleSerializer

# Bytes of records in a file. Every reader opens all files, so not many; a file is copied whole, so not one.
SHARD_BYTES = 256 * 2**20


def write_split(
    examples: Iterable[dict], *, name: str, features: tfds.features.FeaturesDict, template
) -> tfds.core.SplitInfo:
    """Writes a split.

    Args:
      examples: encoded records (`records.encode`) in order, at least one.
      name: of the split.
      features: of the records (`records.features`).
      template: TFDS's template of the names of the split's files.

    Returns:
      The files, as TFDS describes them.

    Raises:
      RuntimeError: ArrayRecord's writer, on a full disk for one.
    """
    serializer = ExampleSerializer(features.get_serialized_info())
    directory = Path(template.data_dir)
    lengths: list[int] = []
    filled, total, writer = 0, 0, None
    for example in examples:
        data = serializer.get_tf_example(features.encode_example(example)).SerializeToString(deterministic=True)
        if writer is None or filled + len(data) > SHARD_BYTES:
            if writer is not None:
                writer.close()
            writer = array_record_module.ArrayRecordWriter(str(_temporary(directory, len(lengths))), "group_size:1")
            lengths, filled = [*lengths, 0], 0
        writer.write(data)
        lengths[-1], filled, total = lengths[-1] + 1, filled + len(data), total + len(data)
    if writer is not None:
        writer.close()
    for number in range(len(lengths)):  # the names hold the number of files, which is known only now
        final = template.sharded_filepath(shard_index=number, num_shards=len(lengths))
        _temporary(directory, number).rename(Path(final))
    return tfds.core.SplitInfo(name=name, shard_lengths=lengths, num_bytes=total, filename_template=template)


def _temporary(directory: Path, number: int) -> Path:
    return directory / f".shard-{number}"
