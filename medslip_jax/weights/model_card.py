"""The model card of `save_pretrained`: README.md with the hub's front matter, made from the description alone."""

import json
from collections.abc import Mapping, Sequence

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
from medslip_jax.weights.torch.torch_model import MeDSLIP, preprocess, probabilities

model = MeDSLIP.from_file("DIRECTORY")
probability = probabilities(model(preprocess(images)))["pathology"]
```
"""


def model_card(info: Mapping, *, license: str, metrics: Mapping | None = None) -> str:
    """Markdown from a description (`bundle.describe`).

    Args:
      info: the description.
      license: of the weights.
      metrics: {name: number or {"value", "low", "high"}}; none gives a card that says so.
    """
    kind, experiment = info["kind"], info.get("experiment") or {}
    sections = [
        f"# {_WHAT[kind]}",
        "**Not for clinical use.** This is a research model; nobody has examined it as a medical device.",
        f"## Use\n\n{_usage(kind)}",
        f"## Preprocessing\n\n{_list(info['preprocessing'])}",
        f"## Training data\n\n{_data(experiment)}",
        f"## Results\n\n{_results(metrics)}",
        f"## Model\n\n{_list(info['model'])}",
        f"## Origin\n\n{_origin(info)}",
        f"## Licence\n\n{license}, for these weights. The code is Apache-2.0.",
    ]
    return "\n".join([_front_matter(kind, license, _data_sets(experiment)), "\n\n".join(sections), ""])


def _front_matter(kind: str, license: str, data_sets: Sequence[str]) -> str:
    lines = ["---", f"license: {_yaml(license)}", "library_name: medslip_jax"]
    if kind == "medslip":
        lines.append("pipeline_tag: zero-shot-image-classification")
    lines += ["tags:", *(f"- {tag}" for tag in ("medslip", "chest-x-ray", "medical", "jax", "flax", "pytorch"))]
    if data_sets:
        lines += ["datasets:", *(f"- {_yaml(name)}" for name in data_sets)]
    return "\n".join([*lines, "---", ""])


def _yaml(text: str) -> str:
    """A JSON string is a YAML string whatever it says, but for the pairs that JSON makes of rare characters."""
    return "".join(char if ord(char) > 0xFFFF else json.dumps(char)[1:-1] for char in text).join('""')


def _data_sets(experiment: Mapping) -> list[str]:
    """Names of what it was trained on, none if nobody knows."""
    data = experiment.get("data", {})
    mixed = [item.partition("=")[0].strip() for item in data.get("mixture", "").split(",")]
    return [name for name in (mixed if data.get("mixture") else [data.get("name")]) if name]


def _usage(kind: str) -> str:
    code = (
        f"import jax\nfrom medslip_jax.models import {_CLASS[kind]}\n\n"
        f'model = {_CLASS[kind]}.from_pretrained("DIRECTORY")   # or the hub id of this repository\n{_USE[kind]}'
    )
    return f"```python\n{code}\n```" + (f"\n{_TORCH.rstrip()}" if kind == "medslip" else "")


def _data(experiment: Mapping) -> str:
    names = _data_sets(experiment)
    if not names:
        return "Not recorded: the weights came from a file that says nothing of it."
    images = experiment["data"].get("train_images")
    text = ", ".join([*(f"`{name}`" for name in names), *([f"{images} training images"] if images else [])])
    start = f" Training started from the weights `{experiment['init_from']}`." if experiment.get("init_from") else ""
    return f"{text}.{start}"


def _results(metrics: Mapping | None) -> str:
    if not metrics:
        return "None given."
    escaped = {name.replace("|", r"\|"): _number(value) for name, value in metrics.items()}
    rows = [f"| {name} | {text} |" for name, text in escaped.items()]
    return "\n".join(["| metric | value |", "|---|---|", *rows])


def _number(value) -> str:
    if not isinstance(value, Mapping):
        return f"{value:.3f}" if isinstance(value, float) else str(value)
    if value.get("value") is None:
        return "-"
    interval = f" [{value['low']:.3f}, {value['high']:.3f}]" if value.get("low") is not None else ""
    return f"{value['value']:.3f}{interval}"


def _origin(info: Mapping) -> str:
    books = {f"text tables, {key}": value for key, value in info["books"].items()}
    source = {f"source, {key}": value for key, value in info["source"].items()}
    return _list(source | books | info["versions"])


def _list(fields: Mapping) -> str:
    return "\n".join(f"- {key}: {value}" for key, value in fields.items())
