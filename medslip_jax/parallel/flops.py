"""FLOPs of a compiled program, loops as often as they run: 2 for each multiplication and addition of a product.

XLA counts the body of a loop once, and for GPUs that are not here not at all. The text of the program has the rest:
products, convolutions, the calls of cuBLAS and cuDNN that stand for them, and how often a loop runs.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax

from medslip_jax.parallel.hlo_text import NAME, Instruction, arrays, computations, times_run

_DIMENSIONS = re.compile(r'lhs_contracting_dim(?:ension)?s"?[=:][\[{]([^\]}]*)[\]}]')
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_TARGET = re.compile(r'custom_call_target="([^"]+)"')
_GROUPS = re.compile(r"\b(feature|batch)_group_count=(\d+)")


def program_flops(compiled: jax.stages.Compiled) -> float | None:
    """`step_flops`; None where XLA has compiled a program that it cannot print or count."""
    try:
        return step_flops(compiled)
    except (jax.errors.JaxRuntimeError, NotImplementedError, ValueError):
        return None


def step_flops(compiled: jax.stages.Compiled) -> float:
    """FLOPs of one run of a program on one device.

    XLA's own count, which has additions and the like as well, times what the loops add to the products in the text;
    where XLA has none, or one without what it has handed to cuBLAS and cuDNN, the products alone.

    Raises:
      Whatever XLA does; ValueError: its text has no entry computation.
    """
    text = compiled.as_text() or ""
    said = float((compiled.cost_analysis() or {}).get("flops") or 0)
    products, once = (text_flops(text, loops=loops) for loops in (True, False))
    if said < once:
        return products
    return said * products / once if once else said


def text_flops(hlo: str, *, loops: bool = True) -> float:
    """FLOPs of the products and convolutions of one run.

    >>> text_flops(
    ...     "ENTRY %main {\\n"
    ...     "  %a = f32[8,16]{1,0} parameter(0)\\n"
    ...     "  %b = f32[16,4]{1,0} parameter(1)\\n"
    ...     "  ROOT %c = f32[8,4]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}\\n"
    ...     "}\\n"
    ... ) == 2 * 8 * 16 * 4
    True

    Args:
      hlo: text of a compiled module.
      loops: False counts the body of a loop once, as XLA does.

    Raises:
      ValueError: text without an entry computation.
    """
    entry, found = computations(hlo)
    total = 0.0
    for name, times in times_run(entry, found, inside=True, loops=loops).items():
        types = {instruction.name: instruction.type for instruction in found[name]}
        total += times * sum(_flops(instruction, types) for instruction in found[name])
    return total


def _flops(instruction: Instruction, types: Mapping[str, str]) -> float:
    target = _TARGET.search(instruction.attributes) if instruction.opcode == "custom-call" else None
    kind = target.group(1) if target else instruction.opcode
    if kind not in ("dot", "convolution") and "matmul" not in kind and "gemm" not in kind and "$conv" not in kind:
        return 0
    # An operand is written with its type, or named and described where it is defined.
    operands: list[Any] = [found[0][1] for found in map(arrays, _operand_types(instruction, types)) if found]
    result = arrays(instruction.type)[0][1]
    labels = _LABELS.search(instruction.attributes)
    if labels is None:
        return 2.0 * math.prod(result) * _contracted(instruction, operands[0])
    # Gradients of cuDNN have the labels and the window of the convolution that they are gradients of.
    left, right, out = operands[0], operands[1], result
    if kind.endswith("BackwardInput"):
        left, out = result, operands[0]
    elif kind.endswith("BackwardFilter"):
        right, out = result, operands[1]
    groups = {name: int(count) for name, count in _GROUPS.findall(instruction.attributes)}
    of_left, of_right, of_out = (
        dict(zip(text, shape, strict=True)) for text, shape in zip(labels.groups(), (left, right, out), strict=True)
    )
    places = 1
    for axis, window in enumerate(_windows(instruction.attributes, len(left) - 2)):
        places *= _places(of_left[str(axis)], of_right[str(axis)], of_out[str(axis)], **window)
    features = of_right["i"] * of_out["f"]
    return 2.0 * places * of_left["b"] * features / groups.get("batch", 1)


def _operand_types(instruction: Instruction, types: Mapping[str, str]) -> list[str]:
    if "[" in instruction.operands:
        return re.split(r", (?=[a-z(])", instruction.operands)
    return [types.get(name, "") for name in NAME.findall(instruction.operands)]


def _contracted(instruction: Instruction, left: tuple[int, ...]) -> int:
    """The length of the sums of a product; that of the last axis, where nothing else is said."""
    match = _DIMENSIONS.search(instruction.attributes)
    axes = [int(text) for text in re.findall(r"\d+", match.group(1))] if match else [len(left) - 1]
    return math.prod(left[axis] for axis in axes)


def _windows(attributes: str, rank: int) -> list[dict[str, int]]:
    """{"stride", "low", "left", "right"} of each spatial axis: padding before, dilation of the left and right side."""
    match = re.search(r"window=\{([^}]*)\}", attributes)
    said = dict(part.split("=") for part in match.group(1).split()) if match else {}
    each = {key: value.split("x") for key, value in said.items()}

    def value(key: str, axis: int, default: str) -> str:
        return each[key][axis] if key in each else default

    return [
        {
            "stride": int(value("stride", axis, "1")),
            "low": int(value("pad", axis, "0_0").split("_")[0]),
            "left": int(value("lhs_dilate", axis, "1")),
            "right": int(value("rhs_dilate", axis, "1")),
        }
        for axis in range(rank)
    ]


def _places(size: int, kernel: int, out: int, *, stride: int, low: int, left: int, right: int) -> int:
    """Pairs of an output and a kernel position that meet an input, which padding and the gaps of dilation do not.

    >>> _places(4, 3, 4, stride=1, low=1, left=1, right=1)  # 3 at each of 4 places, but for one at each border
    10
    """
    span = (size - 1) * left
    at = ((o * stride + k * right - low) for o in range(out) for k in range(kernel))
    return sum(0 <= place <= span and place % left == 0 for place in at)
