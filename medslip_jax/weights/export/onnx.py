"""A serving function as ONNX, through jax2onnx: for onnxruntime and whatever else reads the format."""

import contextlib
import importlib.metadata
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Float

from medslip_jax.errors import InputError
from medslip_jax.storage.files import write_bytes
from medslip_jax.weights.export.stablehlo import ServingFunction, describe_arrays, image_spec

# Old enough for runtimes in use; newer ones changed nothing in the graph (21 and 23 were tried).
OPSET = 18
# Operations that only call another traced program. Where jax2onnx 0.17.1 meets one, it looks for parts of jax that 0.12
# no longer has, so none is left for it.
_CALLS = ("jit", "pjit", "closed_call", "checkpoint", "custom_jvp_call", "custom_vjp_call")
# What a version of jax or jax2onnx raises that arranges its programs or its parts otherwise than the other one expects.
_MISFIT = (AttributeError, ImportError, LookupError, TypeError, ValueError)


def write_onnx(path: str | Path, *, function: ServingFunction, image_size: int, metadata: Mapping) -> None:
    """Writes one self-contained file with input "image" (uint8) and the function's outputs by name.

    Its batch dimension is called "batch" and takes any size. `onnx.checker` has passed it.

    Args:
      path: of the .onnx file; replaced as a whole.
      function: of `stablehlo.serving_function`, in float32.
      image_size: sides of the images, pixels.
      metadata: for `metadata_props`, where every value is a string: what is not one becomes JSON. "inputs" and
        "outputs" are added.

    Raises:
      InputError: jax2onnx missing, or not one for this jax, an image size that the model cannot take, an unwritable
        folder.
    """
    arrays, spec = describe_arrays(function, image_size), image_spec(image_size)
    # A traced program, not the function: jax2onnx puts versions of its own in place of flax's max_pool and others while
    # it traces, and that one drops the explicit padding.
    program = jax.make_jaxpr(function)(spec)
    try:
        import jax2onnx
        import onnx

        with _quiet():
            model = jax2onnx.to_onnx(
                _flattened(program),
                [spec],
                model_name=str(metadata.get("kind", "model")),
                opset=OPSET,
                input_names=list(arrays["inputs"]),
                # A dict is flattened in the order of its sorted keys, which is that of `arrays`.
                output_names=list(arrays["outputs"]),
            )
    except ModuleNotFoundError as error:
        raise InputError(f"{path}: needs {error.name}; `pip install medslip_jax[onnx]`") from error
    except NotImplementedError as error:
        version = importlib.metadata.version("jax2onnx")
        raise InputError(f"{path}: jax2onnx {version} lacks an operation ({error}); update it") from error
    except _MISFIT as error:
        raise InputError(f"{path}: {_misfit(error)}") from error
    props = {**metadata, **arrays}
    props = {name: x if isinstance(x, str) else json.dumps(x, sort_keys=True) for name, x in props.items()}
    onnx.helper.set_model_props(model, props)
    onnx.checker.check_model(model, full_check=True)
    write_bytes(path, model.SerializeToString(deterministic=True))


def _misfit(error: Exception) -> str:
    found = f"jax2onnx {importlib.metadata.version('jax2onnx')} does not work with jax {jax.__version__}"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{found} ({reason}); install versions that do (jax2onnx 0.17.1 with jax 0.12.0.1), or write a .zip"


def _flattened(program: Any) -> Callable[..., list[Array]]:
    """A function that runs a program of `jax.make_jaxpr` operation by operation, with none that calls another program.

    Where it has forms for several platforms (`jax.lax.platform_dependent`), the default one is run. Every max-pooling
    over (b, h, w, c) becomes one over planes (b c, h, w): jax2onnx hands all axes of a window on to MaxPool, and
    onnxruntime pools over three at most.
    """

    def run(*arguments: Array) -> list[Array]:
        body = getattr(program, "jaxpr", program)
        known = dict(zip((*body.constvars, *body.invars), (*getattr(program, "consts", ()), *arguments), strict=True))

        def value(x: Any) -> Array:
            return x.val if hasattr(x, "val") else known[x]  # a literal, or a variable

        for eqn in body.eqns:
            known.update(zip(eqn.outvars, _results(eqn, [value(x) for x in eqn.invars]), strict=True))
        return [value(x) for x in body.outvars]

    return run


def _results(eqn: Any, arguments: Sequence[Array]) -> Sequence[Array]:
    name, params = eqn.primitive.name, eqn.params
    if name in _CALLS:
        return _flattened(params["call_jaxpr" if "call_jaxpr" in params else "jaxpr"])(*arguments)
    if name == "platform_index":
        return [jax.numpy.int32(0)]
    if "branches_platforms" in params:
        default = params["branches_platforms"].index(None)
        return _flattened(params["branches"][default])(*arguments[1:])
    if name == "reduce_window_max" and len(params["window_dimensions"]) == 4:
        return [_pool_planes(*arguments, **params)]
    out = eqn.primitive.bind(*arguments, **params)
    return out if eqn.primitive.multiple_results else [out]


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
