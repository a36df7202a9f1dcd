"""RadGraph JSON -> triplets -> label matrix."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.radgraph.matrices import (
        Entity,
        Triplet,
        fill_study,
        label_matrices,
        landmark,
        observation_class,
        read_entities,
        rows,
        study_id,
        study_triplets,
        triplets_matrix,
    )
