"""Report text -> RadGraph-style entities, and scores against human codes."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.reports.extraction import extract
    from data_pipelines.reports.mesh_codes import judged_classes
    from data_pipelines.reports.openi_xml import OpeniReport, read_reports
    from data_pipelines.reports.policy import Section, TextPolicy, Uncertain, with_uncertain
    from data_pipelines.reports.sections import read_sections, select_section

__all__ = ["OpeniReport", "Section", "TextPolicy", "Uncertain", "extract", "judged_classes", "read_reports"]
__all__ += ["read_sections", "select_section", "with_uncertain"]
