"""The data sets that `medslip data build` can make, and the one way to open a built split.

build("phantom", out="data", options=PhantomOptions(train=8000))     -> ArrayRecord files in data/phantom/1.0.0
open_split("data", "phantom", "train")                               -> random access to its records
"""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.datasets.builders import BUILDERS, builder_class, options_of
    from data_pipelines.datasets.building.build import DROPS_FILE, NOTES_FILE, build
    from data_pipelines.datasets.building.plan import POLICIES, SPLITS
    from data_pipelines.datasets.built import RecordSource, open_split
    from data_pipelines.datasets.contents import Contents, by_kind, contents_of
    from data_pipelines.datasets.phantom import PhantomOptions
    from data_pipelines.datasets.shared.official import OfficialBuilder, check_download, finding_lines

__all__ = ["BUILDERS", "DROPS_FILE", "NOTES_FILE", "POLICIES", "SPLITS", "Contents", "OfficialBuilder"]
__all__ += ["PhantomOptions", "RecordSource", "build", "builder_class", "by_kind", "check_download", "contents_of"]
__all__ += ["finding_lines", "open_split", "options_of"]
