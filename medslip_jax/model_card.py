"""The model card of `save_pretrained`: README.md with the hub's front matter, made from the description alone."""

import json
from collections.abc import Mapping

_WHAT = {
    "medslip": "MeDSLIP pre-training model: 75 pathologies and 51 anatomies, zero-shot, with attention maps",
    "classifier": "classifier fine-tuned from a MeDSLIP trunk",
    "segmenter": "U-Net fine-tuned from a MeDSLIP trunk",
}
_CLASS = {"medslip": "MeDSLIP", "classifier": "Classifier", "segmenter": "Segmenter"}
_USE = {
    "medslip": """out = model(images)                      # uint8 batch x height x width, grey, as under Preprocessing
probability = jax.nn.softmax(out["pathology"]["logits"])[..., 1]   # batch x 75, names in config.json""",
    "classifier": "probability = jax.nn.sigmoid(model(images))   # uint8 batch x height x width -> batch x classes",
    "segmenter": "probability = jax.nn.sigmoid(model(images))   # uint8 b x h x w -> b x h x w x classes",
}
_TORCH = """
Without JAX, with PyTorch (`pip install medslip_jax[torch]`):

```python
from medslip_jax.torch_model import MeDSLIP, preprocess, probabilities

model = MeDSLIP.from_file("DIRECTORY")
probability = probabilities(model(preprocess(images)))["pathology"]
```
"""


def model_card(info: Mapping, *, license: str, metrics: Mapping | None = None) -> str:
    """Markdown from a description (`pretrained.describe`).

    Args:
      info: the description.
      license: of the weights.
      metrics: {name: number or {"value", "low", "high"}}; none gives a card that says so.
    """
    kind, data = info["kind"], (info.get("experiment") or {}).get("data", {})
    sections = [
        f"# {_WHAT[kind]}",
        "**Not for clinical use.** This is a research model; nobody has examined it as a medical device.",
        f"## Use\n\n{_usage(kind)}",
        f"## Preprocessing\n\n{_list(info['preprocessing'])}",
        f"## Training data\n\n{_data(data)}",
        f"## Results\n\n{_results(metrics)}",
        f"## Model\n\n{_list(info['model'])}",
        f"## Origin\n\n{_origin(info)}",
        f"## Licence\n\n{license}, for these weights. The code is Apache-2.0.",
    ]
    return "\n".join([_front_matter(kind, license, data), "\n\n".join(sections), ""])


def _front_matter(kind: str, license: str, data: Mapping) -> str:
    # JSON strings are YAML strings, whatever a licence or data set is called.
    lines = ["---", f"license: {json.dumps(license)}", "library_name: medslip_jax"]
    if kind == "medslip":
        lines.append("pipeline_tag: zero-shot-image-classification")
    lines += ["tags:", *(f"- {tag}" for tag in ("medslip", "chest-x-ray", "medical", "jax", "flax", "pytorch"))]
    if data.get("name"):
        lines += ["datasets:", f"- {json.dumps(data['name'])}"]
    return "\n".join([*lines, "---", ""])


def _usage(kind: str) -> str:
    code = (
        f"import jax\nfrom medslip_jax.models import {_CLASS[kind]}\n\n"
        f'model = {_CLASS[kind]}.from_pretrained("DIRECTORY")   # or the hub id of this repository\n{_USE[kind]}'
    )
    return f"```python\n{code}\n```" + (f"\n{_TORCH.rstrip()}" if kind == "medslip" else "")


def _data(data: Mapping) -> str:
    if not data.get("name"):
        return "Not recorded: the weights came from a file that says nothing of it."
    count = f", {data['train_images']} training images" if data.get("train_images") else ""
    return f"`{data['name']}`{count}."


def _results(metrics: Mapping | None) -> str:
    if not metrics:
        return "None given."
    return "\n".join(["| metric | value |", "|---|---|", *(f"| {k} | {_number(v)} |" for k, v in metrics.items())])


def _number(value) -> str:
    if not isinstance(value, Mapping):
        return f"{value:.3f}" if isinstance(value, float) else str(value)
    interval = f" [{value['low']:.3f}, {value['high']:.3f}]" if value.get("low") is not None else ""
    return f"{value['value']:.3f}{interval}"


def _origin(info: Mapping) -> str:
    books = {f"text tables, {key}": value for key, value in info["books"].items()}
    source = {f"source, {key}": value for key, value in info["source"].items()}
    return _list(source | books | info["versions"])


def _list(fields: Mapping) -> str:
    return "\n".join(f"- {key}: {value}" for key, value in fields.items())
