"""The one image reader: pictures, DICOM, policy, checks."""

from etils import epy

with epy.lazy_api_imports(globals()):
    from data_pipelines.images.checks import suspicions
    from data_pipelines.images.dicom_body import is_dicom
    from data_pipelines.images.dicom_tags import declared_pixels, patient_tags, view_position
    from data_pipelines.images.messages import caught
    from data_pipelines.images.names import files_of, is_left_behind, printable
    from data_pipelines.images.policy import ImagePolicy
    from data_pipelines.images.policy_flags import add_image_flags, given_image
    from data_pipelines.images.reading import (
        decode_grey,
        encode_grey,
        fit,
        read_bytes,
        read_grey,
        read_image,
        resize,
        squash,
    )
    from data_pipelines.images.rle import NO_MASK, decode_rle

__all__ = [
    "NO_MASK",
    "ImagePolicy",
    "add_image_flags",
    "caught",
    "declared_pixels",
    "decode_grey",
    "decode_rle",
    "encode_grey",
    "files_of",
    "fit",
    "given_image",
    "is_dicom",
    "is_left_behind",
    "patient_tags",
    "printable",
    "read_bytes",
    "read_grey",
    "read_image",
    "resize",
    "squash",
    "suspicions",
    "view_position",
]
