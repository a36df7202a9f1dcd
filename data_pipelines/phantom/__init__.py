"""The built-in chest phantom: images, boxes, masks and reports by seed."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.phantom.drawing import FOCAL, PATHOLOGIES_DRAWN, bounds, draw

__all__ = ["FOCAL", "PATHOLOGIES_DRAWN", "bounds", "draw"]
