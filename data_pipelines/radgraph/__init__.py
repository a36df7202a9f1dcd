"""RadGraph JSON -> triplets -> label matrix."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.radgraph.entities import Entity, Skipped, read_entities
    from data_pipelines.radgraph.lemmas import without_plural
    from data_pipelines.radgraph.matrices import (
        Triplet,
        fill_study,
        label_matrices,
        study_id,
        study_triplets,
        triplets_matrix,
    )
    from data_pipelines.radgraph.stream import iter_entities, iter_label_matrices, iter_studies

__all__ = ["Entity", "Skipped", "Triplet", "fill_study", "iter_entities", "iter_label_matrices", "iter_studies"]
__all__ += ["label_matrices", "read_entities", "study_id", "study_triplets", "triplets_matrix", "without_plural"]
