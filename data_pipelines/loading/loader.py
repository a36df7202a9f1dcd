"""The grain pipeline: source -> shuffle -> decode, augment -> share of this host -> batch -> workers.

Every example of the endless training stream has a position: shuffling and augmentation are functions of
(seed, position) only, and batch k is positions k * B .. (k + 1) * B - 1. A host takes its contiguous share of
each batch *after* the random transforms, so the batches of two hosts put together are the batch of one; and a
run can start at any k on any number of hosts, workers or threads and see the same stream. The state is
therefore one number.
"""

import dataclasses
import mmap
import sys
import weakref

import cv2
import grain
import numpy as np
from absl import flags

from data_pipelines import images, records
from data_pipelines.loading import augment as augment_lib
from data_pipelines.loading.targets import Targets, mask_to
from data_pipelines.loading.worker_processes import begin_grain_worker, explained, require_shared_memory, undisturbed
from medslip_jax.errors import InputError
from medslip_jax.vocabulary import PATHOLOGIES

# Of each worker in shared memory: a batch in its hands, one in its queue, two in this process; and 25 semaphores,
# each a page (counted with grain 0.2.18).
_BATCHES_A_WORKER, _PAGES_A_WORKER = 4, 32


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Several sources that training draws from in fixed proportions, each reshuffled at its own end.

    Attributes:
      sources: as of `Loader`, at least one.
      weights: of each, above 0; only their ratios matter. Any run of consecutive positions has them nearly exactly.
    """

    sources: tuple[records.Source, ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        if not self.sources or len(self.sources) != len(self.weights):
            raise InputError(f"mixture: {len(self.sources)} sources and {len(self.weights)} weights; give one for each")
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise InputError(f"mixture: weights {self.weights}; each must be a number above 0")
        if not all(len(source) for source in self.sources):
            raise InputError("mixture: one of the data sources is empty; build the data again or choose another split")

    def __len__(self) -> int:
        """Records of all sources."""
        return sum(map(len, self.sources))


class Loader:
    """Batches of one split for one host.

    Training (`train=True`): endless, reshuffled every epoch, epochs joined without a gap; a batch is
    {"image": uint8 (b, size, size), "matrix": int8 (b, 51, 75)} with b = batch_size / host_count.
    With `targets` a batch has, in place of the matrix (and of evaluation's labels), their truth: "labels" int8 (b, k)
    or "masks" uint8 (b, size, size, k) of 0 and 1, moved with the image; -1 and 0 in the filling.
    Evaluation: one pass in the order of the source; the last batch is filled up, and a batch also has
    "labels" int8 (b, 75), "index" int64 (b,), the row in the source, and "valid" bool (b,), False for the
    filling (then image 0, matrix and labels -1, index -1). Each `for` over an evaluation loader is a whole
    pass.

    Example:
      loader = Loader(open_split("data", "phantom", "train"), batch_size=64, image_size=224, seed=0,
                      train=True, augment=AugmentConfig())
      batch = next(loader); state = loader.get_state()      # {"batch": 1}

    Args:
      source: random access to records (`records.decode`), at least one; must be picklable if workers > 0. Training
        also takes a `Mixture` of several.
      batch_size: examples of a batch over all hosts, a multiple of host_count.
      image_size: side of the square images in pixels.
      seed: of the shuffle and of every augmentation.
      augment: the augmentation of training; None squashes the image to size as in evaluation.
      targets: of fine-tuning (see `targets`), in place of the label matrix.
      train: endless shuffled stream (True) or one ordered pass (False).
      host_index, host_count: which contiguous share of each batch is ours.
      workers: processes; 0 reads with `threads` threads of this process (OpenCV and Pillow release the GIL).
      threads: batches that are prepared at the same time, in each process.

    Raises:
      InputError: a number that does not fit, an empty source; while reading, a record with a damaged image or
        a matrix or labels of the wrong shape, naming its image_id, or a worker that was killed.
      NoSharedMemory: workers > 0 and /dev/shm has no room for their batches.
    """

    def __init__(
        self,
        source: records.Source | Mixture,
        *,
        batch_size: int,
        image_size: int,
        seed: int = 0,
        train: bool,
        augment: augment_lib.AugmentConfig | None = None,
        targets: Targets | None = None,
        host_index: int = 0,
        host_count: int = 1,
        workers: int = 0,
        threads: int = 2,
    ):
        if batch_size < 1 or batch_size % host_count:
            raise InputError(f"batch_size={batch_size}: expected a positive multiple of the {host_count} host(s)")
        if not 0 <= host_index < host_count:
            raise InputError(f"host_index={host_index}: expected 0 .. {host_count - 1}")
        if len(source) == 0:
            raise InputError("the data source is empty; build the data again or choose another split")
        self._length = sys.maxsize if train else -(-len(source) // batch_size)
        self._train, self._workers, self._threads = train, workers, threads
        self._share = {"batch_size": batch_size, "host_index": host_index, "host_count": host_count}
        if train:
            self._positions = _train_positions(source, size=image_size, seed=seed, augment=augment, targets=targets)
        elif isinstance(source, Mixture):
            raise InputError("a mixture is for training; evaluate its sources one by one")
        else:
            padded = self._length * batch_size
            self._positions = _eval_positions(source, size=image_size, padded=padded, targets=targets)
        self._shared_bytes = _shared_bytes(
            _filling(image_size, targets), share=batch_size // host_count, workers=workers
        )
        if workers:
            require_shared_memory(self._shared_bytes)
        self._batch = 0
        self._running: dict[str, grain.DatasetIterator] = {}
        # At interpreter exit grain's own clean-up of its workers comes too late and leaks shared memory.
        weakref.finalize(self, _close, self._running)

    def __len__(self) -> int:
        """Batches of a pass; `sys.maxsize` for training."""
        return self._length

    def __iter__(self) -> "Loader":
        if not self._train:
            self.set_state({"batch": 0})
        return self

    def __next__(self) -> dict:
        try:
            batch = next(self._running["iterator"]) if self._running else self._first()
        except (OSError, RuntimeError) as error:
            known = explained(error) if self._workers else None
            if known is None:
                raise
            raise known from error
        self._batch += 1
        # What a worker sends lies in shared memory that lives as long as the array; hand out ordinary arrays.
        return {key: np.array(value) for key, value in batch.items()} if self._workers else batch

    def close(self) -> None:
        """Stops threads and workers; the next batch asked for starts them again."""
        _close(self._running)

    def get_state(self) -> dict:
        """{"batch": k}: k batches have been handed out (what is prefetched does not count)."""
        return {"batch": self._batch}

    def set_state(self, state: dict) -> None:
        """The next batch is number state["batch"], from 0; hosts and workers may differ from the writer's."""
        batch = state.get("batch")
        if not isinstance(batch, int) or batch < 0:
            raise InputError(f"loader state {state!r}: expected {{'batch': k}} with k >= 0")
        self.close()
        self._batch = batch

    def _first(self) -> dict:
        iterator = self._running["iterator"] = iter(self._start(self._batch))
        # The first batch starts the workers.
        return undisturbed(next, iterator) if self._workers else next(iterator)

    def _start(self, first_batch: int) -> grain.IterDataset:
        part = _HostPart(self._positions, first_batch=first_batch, **self._share)
        batches = part.batch(self._share["batch_size"] // self._share["host_count"], drop_remainder=True)
        # Our threads and processes are the parallelism; OpenCV's own would fight over the cores.
        cv2.setNumThreads(0)
        options = grain.ReadOptions(num_threads=self._threads, prefetch_buffer_size=2 * self._threads)
        stream = batches.to_iter_dataset(options)
        if self._workers == 0:
            return stream
        require_shared_memory(self._shared_bytes)
        # grain reads absl flags when it starts workers; under pytest or in a notebook nobody has parsed them.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        return stream.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=self._workers), worker_init_fn=begin_grain_worker
        )


def _shared_bytes(example: dict, *, share: int, workers: int) -> int:
    """What the workers have in shared memory where they are ahead of the reader, as in every validation."""
    batch = sum(-(-share * array.nbytes // mmap.PAGESIZE) for array in example.values())
    return (batch + workers * (_BATCHES_A_WORKER * batch + _PAGES_A_WORKER)) * mmap.PAGESIZE


def _close(running: dict[str, grain.DatasetIterator]) -> None:
    while running:
        running.popitem()[1].close()


class _HostPart(grain.MapDataset):
    """This host's contiguous share of every batch, from batch `first_batch` on."""

    def __init__(
        self, parent: grain.MapDataset, *, batch_size: int, host_index: int, host_count: int, first_batch: int
    ):
        super().__init__(parent)
        self._batch_size, self._share = batch_size, batch_size // host_count
        self._start = first_batch * batch_size + host_index * self._share
        self._batches = max(0, len(parent) // batch_size - first_batch)

    def __len__(self) -> int:
        return self._batches * self._share

    def __getitem__(self, index: int) -> dict:
        batch, row = divmod(index, self._share)
        return self._parent[self._start + batch * self._batch_size + row]


def _train_positions(
    source: records.Source | Mixture,
    *,
    size: int,
    seed: int,
    augment: augment_lib.AugmentConfig | None,
    targets: Targets | None,
) -> grain.MapDataset:
    def prepare(record: dict, rng: np.random.Generator) -> dict:
        sample = _decode(record, targets)
        if augment is None:
            return _for_batch(_squashed(sample, size))
        return _for_batch(augment_lib.augment(sample, rng=rng, size=size, config=augment))

    if not isinstance(source, Mixture):
        return grain.MapDataset.source(source).seed(seed).shuffle().repeat().random_map(prepare)
    streams = [
        # Sources of equal length would otherwise be shuffled alike.
        grain.MapDataset.source(one).seed(seed + number).shuffle().repeat()
        for number, one in enumerate(source.sources)
    ]
    return grain.MapDataset.mix(streams, source.weights).seed(seed).random_map(prepare)


def _eval_positions(source: records.Source, *, size: int, padded: int, targets: Targets | None) -> grain.MapDataset:
    def prepare(index: int) -> dict:
        if index >= len(source):
            return _filling(size, targets) | {"index": np.int64(-1), "valid": np.bool_(False)}
        record = source[index]
        sample = _for_batch(_squashed(_decode(record, targets), size))
        if targets is None:
            records.check_labels(record["labels"], records.LABELS_SHAPE, "labels", record["image_id"])
            sample["labels"] = record["labels"]
        return sample | {"index": np.int64(index), "valid": np.bool_(True)}

    return grain.MapDataset.range(padded).map(prepare)


def _filling(size: int, targets: Targets | None) -> dict:
    """What fills up the last batch of a pass."""
    image = {"image": np.zeros((size, size), np.uint8)}
    if targets is None:
        unknown = {"matrix": records.MATRIX_SHAPE, "labels": len(PATHOLOGIES)}
        return image | {key: np.full(shape, -1, np.int8) for key, shape in unknown.items()}
    if targets.kind == "labels":
        return image | {"labels": np.full(len(targets.specs), -1, np.int8)}
    return image | {"masks": np.zeros((size, size, len(targets.specs)), np.uint8)}


def _decode(record: dict, targets: Targets | None) -> dict:
    """The image and what is to be learned from it, at the stored size."""
    image_id = record["image_id"]
    image = {"image": images.decode_grey(record["image"], name=f"record image_id={image_id}")}
    if targets is None:
        records.check_labels(record["matrix"], records.MATRIX_SHAPE, "matrix", image_id)
        return image | {"matrix": record["matrix"]}
    if targets.kind == "labels":
        return image | {"labels": targets.labels(record)}
    return image | {"masks": targets.masks(record), "mirrored": targets.mirrored()}


def _squashed(sample: dict, size: int) -> dict:
    masks = (
        {"masks": np.stack([mask_to(mask, height=size, width=size) for mask in sample["masks"]])}
        if "masks" in sample
        else {}
    )
    return sample | {"image": images.squash(sample["image"], size)} | masks


def _for_batch(sample: dict) -> dict:
    """Masks as the device reads them: 0 and 1, classes last."""
    sample.pop("mirrored", None)
    if "masks" in sample:
        sample["masks"] = np.ascontiguousarray((sample["masks"] > 127).astype(np.uint8).transpose(1, 2, 0))
    return sample
