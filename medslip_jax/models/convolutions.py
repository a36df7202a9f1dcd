"""Products and convolutions in the form that is fastest on the platform that runs them.

Everywhere the numbers are those of the plain operations, to rounding. What XLA makes of convolutions and of the
gradients of both is slow on a CPU (measured in docs/speed.md), so there each has a form of its own; a TPU or GPU gets
the plain operation and what automatic differentiation gives.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def _for_cpu(cpu, others):
    """`cpu` where the program is compiled for a CPU, wherever that is done, else `others`."""
    return lambda *args: jax.lax.platform_dependent(*args, cpu=cpu, default=others)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def pointwise(x: Float[Array, "*b c"], kernel: Float[Array, "c d"], precision) -> Float[Array, "*b d"]:
    """x W over the last axis: a linear layer, or a 1 x 1 convolution."""
    return jnp.matmul(x, kernel, precision=precision)


def _pointwise_forward(x, kernel, precision):
    return pointwise(x, kernel, precision), (x, kernel)


def _pointwise_backward(precision, kept, dy):
    def plain(x, kernel, dy):
        return jax.vjp(functools.partial(jnp.matmul, precision=precision), x, kernel)[1](dy)

    def cpu(x, kernel, dy):
        # XLA would fuse what makes dy (BatchNorm's gradient, say) with the transposition that the weight gradient
        # needs, and walk through memory across the grain: five times slower than the two after one another.
        x, dy = jax.lax.optimization_barrier((x, dy))
        rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
        dx = jnp.matmul(dy, kernel.T, precision=precision)
        # The first operand is copied in transposed form; the narrower one costs less.
        if kernel.shape[0] <= kernel.shape[1]:
            return dx, _inner(rows, dy_rows, precision)
        return dx, _inner(dy_rows, rows, precision).T

    return _for_cpu(cpu, plain)(*kept, dy)


pointwise.defvjp(_pointwise_forward, _pointwise_backward)


def _inner(a: Float[Array, "n c"], b: Float[Array, "n d"], precision) -> Float[Array, "c d"]:
    return jax.lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision=precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolution(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k c d"], stride: int, precision
) -> Float[Array, "b h2 w2 d"]:
    """A k x k convolution with padding k // 2 on all sides."""

    def plain(x, kernel):
        return _convolve(x, kernel, stride, kernel.shape[0] // 2, precision)

    if not _winograd_fits(x, kernel, stride):
        return plain(x, kernel)
    return _for_cpu(functools.partial(_winograd, precision=precision), plain)(x, kernel)


def _convolve(x, kernel, stride: int, pad, precision):
    pads = ((pad, pad), (pad, pad)) if isinstance(pad, int) else pad
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=precision
    )


def _convolution_forward(x, kernel, stride, precision):
    return convolution(x, kernel, stride, precision), (x, kernel)


def _convolution_backward(stride, precision, kept, dy):
    plain_convolution = functools.partial(_convolve, stride=stride, pad=kept[1].shape[0] // 2, precision=precision)

    def plain(x, kernel, dy):
        return jax.vjp(plain_convolution, x, kernel)[1](dy)

    def cpu(x, kernel, dy):
        x, dy = jax.lax.optimization_barrier((x, dy))
        if _winograd_fits(x, kernel, stride):
            return jax.vjp(functools.partial(_winograd, precision=precision), x, kernel)[1](dy)
        if stride != 2:
            return plain(x, kernel, dy)
        d_kernel = _patch_gradient(x, dy, kernel.shape[0], precision)
        if kernel.shape[0] == 3 and x.shape[1] % 2 == x.shape[2] % 2 == 0:
            return _strided_input_gradient(kernel, dy, precision), d_kernel
        return jax.vjp(lambda x: plain_convolution(x, kernel), x)[1](dy)[0], d_kernel

    return _for_cpu(cpu, plain)(*kept, dy)


convolution.defvjp(_convolution_forward, _convolution_backward)


def _winograd_fits(x, kernel, stride: int) -> bool:
    """Only float32, as tiles hold sums of pixels that bfloat16 would round, and only images of whole 2 x 2 tiles."""
    return stride == 1 and kernel.shape[0] == 3 and x.dtype == jnp.float32 and x.shape[1] % 2 == x.shape[2] % 2 == 0


def _winograd(x: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c d"], precision) -> Float[Array, "b h w d"]:
    """F(2 x 2, 3 x 3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.

    Y = A' ((G g G') * (B' d B)) A for a tile d of 4 x 4 pixels and a kernel g, summed over channels: 16 products where
    the four pixels of Y would need 36. The functions `_..._values` multiply by G, B' and A' along one axis.
    """
    # A barrier keeps XLA from computing what goes into a product, or comes out of one, once for each of its uses.
    kernels = _along_two(_kernel_values, [[kernel[i, j] for j in range(3)] for i in range(3)])
    products = [
        [pointwise(*jax.lax.optimization_barrier((v, u)), precision) for v, u in zip(row, kernel_row, strict=True)]
        for row, kernel_row in zip(_tile_values(x), kernels, strict=True)
    ]
    pixels = _along_two(_pixel_values, jax.lax.optimization_barrier(products))
    return _interleave(pixels)


def _along_two(transform, values: list[list[Array]]) -> list[list[Array]]:
    """The transform of every column, then of every row."""
    columns = [transform(column) for column in zip(*values, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]


def _kernel_values(g):  # G: 4 from 3
    mean, odd = (g[0] + g[2]) / 2, g[1] / 2
    return [g[0], mean + odd, mean - odd, g[2]]


def _input_values(d):  # B': 4 from 4
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _input_gradients(v):  # B
    return [v[0], v[1] - v[2] + v[3], v[1] + v[2] - v[0], -v[3]]


def _pixel_values(m):  # A': 2 from 4
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _interleave(pixels: list[list[Array]]) -> Array:
    """2 x 2 images of (b, h, w, d) -> (b, 2h, 2w, d)."""
    rows = [jnp.stack(row, axis=3) for row in pixels]
    b, h, w, _, d = rows[0].shape
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, d)


@jax.custom_vjp
def _tile_values(x: Float[Array, "b h w c"]) -> list[list[Float[Array, "b h2 w2 c"]]]:
    """The 16 values of every 4 x 4 tile; tiles overlap by two pixels, and the first begins one before the image."""
    b, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tiles = [
        [jax.lax.slice(padded, (0, i, j, 0), (b, i + h - 1, j + w - 1, c), (1, 2, 2, 1)) for j in range(4)]
        for i in range(4)
    ]
    return _along_two(_input_values, tiles)


def _tile_values_backward(_, dv):
    """Each pixel is in four tiles: its gradients are added up where they are read, without writes that overlap."""
    tiles = _along_two(_input_gradients, jax.lax.optimization_barrier(dv))

    def pairs(values, axis: int):
        return [values[1] + _shifted(values[3], axis, 1), values[2] + _shifted(values[0], axis, -1)]

    columns = [pairs(column, 1) for column in zip(*tiles, strict=True)]
    return (_interleave([pairs(row, 2) for row in zip(*columns, strict=True)]),)


_tile_values.defvjp(lambda x: (_tile_values(x), None), _tile_values_backward)


def _shifted(x: Array, axis: int, by: int) -> Array:
    """x[i - by] at i along an axis, zero outside."""
    pads = [(0, 0)] * x.ndim
    pads[axis] = (by, 0) if by > 0 else (0, -by)
    start = max(-by, 0)
    return jax.lax.slice_in_dim(jnp.pad(x, pads), start, start + x.shape[axis], axis=axis)


def _patch_gradient(
    x: Float[Array, "b h w c"], dy: Float[Array, "b h2 w2 d"], size: int, precision
) -> Float[Array, "k k c d"]:
    """The weight gradient of a convolution of stride 2, as one product with the patches that each output has seen."""
    b, h, w, d = dy.shape
    pad = size // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    taps = [
        jax.lax.slice(padded, (0, i, j, 0), (b, i + 2 * h - 1, j + 2 * w - 1, x.shape[-1]), (1, 2, 2, 1))
        for i in range(size)
        for j in range(size)
    ]
    patches = jax.lax.optimization_barrier(jnp.concatenate(taps, axis=-1))
    product = _inner(patches.reshape(b * h * w, -1), dy.reshape(b * h * w, d), precision)
    return product.reshape(size, size, -1, d)


def _strided_input_gradient(
    kernel: Float[Array, "3 3 c d"], dy: Float[Array, "b h w d"], precision
) -> Float[Array, "b 2h 2w c"]:
    """Of a 3 x 3 convolution of stride 2, by the parity of row and column: no products with zeros between rows.

    From y[i] = sum_k x[2i + k - 1] w[k]: dx[2i] = dy[i] w[1] and dx[2i + 1] = dy[i] w[2] + dy[i + 1] w[0].
    """
    flipped = jnp.swapaxes(kernel, 2, 3)[::-1, ::-1]  # w[2], w[1], w[0]
    taps, pads = {0: slice(1, 2), 1: slice(0, 3, 2)}, {0: (0, 0), 1: (0, 1)}
    parts = [
        [_convolve(dy, flipped[taps[a], taps[b]], 1, (pads[a], pads[b]), precision) for b in (0, 1)] for a in (0, 1)
    ]
    return _interleave(parts)
