"""The one image reader: pictures, DICOM, policy, checks."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.images.reading import (
        decode_grey,
        encode_grey,
        equalise_as_released,
        fit,
        read_bytes,
        read_grey,
        read_image,
        resize,
        resize_short_side,
        squash,
    )
