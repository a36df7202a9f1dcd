"""A state_dict's names and shapes -> the config of its model, as far as they show it; a wrong one is named."""

from collections.abc import Mapping, Sequence

from medslip_jax.errors import InputError
from medslip_jax.models.kinds import ModelConfig, config_from_fields, fields_of, kind_of
from medslip_jax.models.resnet import DEPTHS
from medslip_jax.storage.matching import MatchReport, some

Shapes = Mapping[str, Sequence[int]]

_STEM = "res_features.0.weight"
# Options that leave no trace in names and shapes.
_INVISIBLE = {
    "medslip": ("decoder_heads", "mask_activation"),
    "classifier": ("mask_activation",),
    "segmenter": (),
}


def infer_config(shapes: Shapes, *, where: str) -> dict:
    """{"config": ModelConfig, "assumed": {field: value}} of a state_dict with canonical names.

    "assumed" are the options that matter for the numbers and cannot be seen: they have the released values.

    Raises:
      InputError: no model of this project, or a trunk that it does not have; the message says which.
    """
    seen = visible_fields(shapes, where=where)
    config = config_from_fields(seen.pop("kind"), seen)
    masked = _has(shapes, "mask_generator.")
    invisible = [field for field in _INVISIBLE[kind_of(config)] if masked or field != "mask_activation"]
    return {"config": config, "assumed": {field: getattr(config, field) for field in invisible}}


def check_fit(report: MatchReport, shapes: Shapes, expected: ModelConfig, *, where: str) -> None:
    """`report.check`, whose `InputError` names the config fields that differ where these explain the tensors."""
    try:
        report.check(where)
    except InputError as error:
        seen = visible_fields(shapes, where=where)
        wanted = {"kind": kind_of(expected), **fields_of(expected)}
        both = [key for key in seen if key in wanted]
        differ = [f"{key} {seen[key]}, expected {wanted[key]}" for key in both if seen[key] != wanted[key]]
        if not differ:
            raise
        # "kind" comes first, and fields of two kinds cannot be compared.
        shown = differ if seen["kind"] == wanted["kind"] else differ[:1]
        raise InputError(f"{where}: another model: {'; '.join(shown)}") from error


def visible_fields(shapes: Shapes, *, where: str) -> dict:
    """ "kind" and the config fields that names and shapes determine; a field whose tensors are missing is left out."""
    kind = _kind(shapes, where=where)
    fields = {"kind": kind, **_trunk(shapes, where=where), **_READERS[kind](shapes)}
    return {key: value for key, value in fields.items() if value is not None}


def _kind(shapes: Shapes, *, where: str) -> str:
    if _has(shapes, "up_blocks."):
        return "segmenter"
    if "res_out.weight" in shapes or _has(shapes, "last_res."):
        return "classifier"
    if _has(shapes, "decoder_pathology.", "pathology_embedding_layer."):
        return "medslip"
    names = f"its tensors are called {some(sorted(shapes))}" if shapes else "it holds no tensor"
    raise InputError(f"{where}: no MeDSLIP model, classifier or U-Net; {names}")


def _trunk(shapes: Shapes, *, where: str) -> dict:
    """Backbone and width; a trunk with other numbers of blocks is refused here, as no config describes it."""
    depths = tuple(_count(shapes, f"res_features.{4 + i}.") for i in range(3))
    bottleneck = any(name.startswith("res_features.4.") and ".conv3." in name for name in shapes)
    backbone = "resnet50" if bottleneck else "resnet18"
    if 0 not in depths and depths != DEPTHS[backbone][:3]:
        known = "; ".join(f"{name} {'-'.join(map(str, d[:3]))}" for name, d in DEPTHS.items())
        kind = "bottleneck" if bottleneck else "basic"
        raise InputError(f"{where}: the backbone has {'-'.join(map(str, depths))} {kind} blocks; known are {known}")
    return {"backbone": None if 0 in depths else backbone, "trunk_width": _axis(shapes, _STEM, 0)}


def _medslip(shapes: Shapes) -> dict:
    queries = "pathology_embedding_layer.weight"
    width, text_dim = _axis(shapes, queries, 0), _axis(shapes, queries, 1)
    dual = _has(shapes, "decoder_anatomy.")
    return {
        "embed_dim": width or _axis(shapes, "cl_fc_pathology.weight", 1),
        "text_dim": text_dim or _axis(shapes, "cl_fc_pathology.weight", 0),
        "decoder_layers": _count(shapes, "decoder_pathology.layers.") or None,
        "decoder_ffn_dim": _axis(shapes, "decoder_pathology.layers.0.linear1.weight", 0),
        "streams": "dual" if dual else "pathology",
        "share_query_projection": "anatomy_embedding_layer.weight" not in shapes if dual else None,
        "mask_activation": _mask(shapes) if dual else None,
        "patch_norm": _patch_norm(shapes),
    }


def _classifier(shapes: Shapes) -> dict:
    fields = {"num_classes": _axis(shapes, "res_out.weight", 0)}
    if not _has(shapes, "last_res."):
        last = next((f"layer{stage}" for stage in (4, 3) if _has(shapes, f"res_features.{3 + stage}.")), None)
        return fields | {"disentangle": "none", "last_stage": last}
    return fields | {
        "disentangle": "pathology",
        "embed_dim": _axis(shapes, "back.weight", 1),
        "mask_activation": _mask(shapes),
        "patch_norm": _patch_norm(shapes),
    }


def _segmenter(shapes: Shapes) -> dict:
    return {"num_classes": _axis(shapes, "seg_classifier.weight", 0)}


_READERS = {"medslip": _medslip, "classifier": _classifier, "segmenter": _segmenter}


def _mask(shapes: Shapes) -> str | None:
    """ "off" if there is no mask; with one, "none" and "sigmoid" look alike."""
    return None if _has(shapes, "mask_generator.") else "off"


def _patch_norm(shapes: Shapes) -> str:
    return "layer_norm" if _has(shapes, "patch_norm_") else "none"


def _axis(shapes: Shapes, name: str, axis: int) -> int | None:
    return shapes[name][axis] if name in shapes and len(shapes[name]) > axis else None


def _has(shapes: Shapes, *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in shapes)


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbers follow a prefix: blocks of a stage, layers of a decoder."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})
