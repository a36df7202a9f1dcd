"""Report text -> RadGraph-style entities, and scores against human codes."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.reports.extraction import extract
