"""A serving function as ONNX, through jax2onnx: for onnxruntime and whatever else reads the format."""

import contextlib
import functools
import importlib.metadata
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import jax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Float

from medslip_jax.errors import InputError
from medslip_jax.files import write_bytes
from medslip_jax.serving import ServingFunction, check_suffix, describe_arrays, image_spec

# Old enough for runtimes in use; newer ones changed nothing in the graph (21 and 23 were tried).
OPSET = 18


def write_onnx(path: str | Path, *, function: ServingFunction, image_size: int, metadata: Mapping) -> None:
    """Writes one self-contained file with input "image" (uint8) and the function's outputs by name.

    Its batch dimension is called "batch" and takes any size. `onnx.checker` has passed it.

    Args:
      path: ends with `.onnx`; replaced as a whole.
      function: of `serving.serving_function`, in float32.
      image_size: sides of the images, pixels.
      metadata: for `metadata_props`, where every value is a string: what is not one becomes JSON. "inputs" and
        "outputs" are added.

    Raises:
      InputError: another suffix, jax2onnx missing or too old, an image size that the model cannot take, an
        unwritable folder.
    """
    path = check_suffix(path, ".onnx")
    packages = _packages(path)
    arrays = describe_arrays(function, image_size)
    spec, names = image_spec(image_size), list(arrays["outputs"])
    # A dict is flattened in the order of its sorted keys, which is that of `names`.
    program = jax.make_jaxpr(function)(spec)
    with _quiet():
        try:
            # A traced program, not the function: jax2onnx puts versions of its own in place of flax's max_pool and
            # others while it traces, and that one drops the explicit padding.
            model = packages["jax2onnx"].to_onnx(
                jaxpr_as_fun(_with_poolable_planes(program)),
                [spec],
                model_name=str(metadata.get("kind", "model")),
                opset=OPSET,
                input_names=list(arrays["inputs"]),
                output_names=names,
            )
        except NotImplementedError as error:
            version = importlib.metadata.version("jax2onnx")
            raise InputError(f"{path}: jax2onnx {version} lacks an operation ({error}); update it") from error
    onnx = packages["onnx"]
    props = {**metadata, **arrays}
    props = {name: x if isinstance(x, str) else json.dumps(x, sort_keys=True) for name, x in props.items()}
    onnx.helper.set_model_props(model, props)
    onnx.checker.check_model(model, full_check=True)
    write_bytes(path, model.SerializeToString(deterministic=True))


def _packages(path: Path) -> dict[str, ModuleType]:
    try:
        import jax2onnx
        import onnx
    except ImportError as error:
        raise InputError(f"{path}: needs jax2onnx; `pip install medslip_jax[onnx]`") from error
    return {"jax2onnx": jax2onnx, "onnx": onnx}


def _with_poolable_planes(program: ClosedJaxpr) -> ClosedJaxpr:
    """The program with every max-pooling over (b, h, w, c) as one over planes (b c, h, w).

    jax2onnx hands all axes of a window on to MaxPool, and onnxruntime pools over three at most.
    """
    eqns = []
    for eqn in program.jaxpr.eqns:
        params = {k: _with_poolable_planes(v) if isinstance(v, ClosedJaxpr) else v for k, v in eqn.params.items()}
        eqn = eqn.replace(params=params)
        if eqn.primitive.name == "reduce_window_max" and len(eqn.params["window_dimensions"]) == 4:
            pool = jax.jit(functools.partial(_pool_planes, **eqn.params))
            (call,) = jax.make_jaxpr(pool)(eqn.invars[0].aval).jaxpr.eqns
            eqn = call.replace(invars=eqn.invars, outvars=eqn.outvars)
        eqns.append(eqn)
    return program.replace(jaxpr=program.jaxpr.replace(eqns=eqns))


def _pool_planes(
    x: Float[Array, "b h w c"], *, window_dimensions, window_strides, padding, **dilations
) -> Float[Array, "b h2 w2 c"]:
    b, h, w, c = x.shape
    planes = x.transpose(0, 3, 1, 2).reshape(b * c, h, w)
    pooled = jax.lax.reduce_window(
        planes,
        -jax.numpy.inf,
        jax.lax.max,
        (1, *window_dimensions[1:3]),
        (1, *window_strides[1:3]),
        ((0, 0), *padding[1:3]),
        **{name: (1, *factors[1:3]) for name, factors in dilations.items()},
    )
    return pooled.reshape(b, c, *pooled.shape[1:]).transpose(0, 2, 3, 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """jax2onnx configures the root logger and warns about its own intermediate values."""
    handlers, disabled = list(logging.root.handlers), logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers
