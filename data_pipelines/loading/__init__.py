"""Records -> batches: the grain pipeline, augmentation, fine-tuning targets, subsets. Never imports JAX."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.loading.augment import AugmentConfig
    from data_pipelines.loading.loader import Loader, Mixture
    from data_pipelines.loading.subsets import Subset, known_images, nested_rows
    from data_pipelines.loading.targets import Targets
    from data_pipelines.loading.worker_processes import (
        NoSharedMemory,
        begin_worker,
        no_shared_memory,
        undisturbed,
        usable_cores,
    )

__all__ = ["AugmentConfig", "Loader", "Mixture", "NoSharedMemory", "Subset", "Targets", "begin_worker", "known_images"]
__all__ += ["nested_rows", "no_shared_memory", "undisturbed", "usable_cores"]
