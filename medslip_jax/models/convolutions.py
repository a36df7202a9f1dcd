"""Products and convolutions whose gradients are written for the platform that runs them.

Everywhere the numbers are those of the plain operations. What XLA makes of their gradients on a CPU is slow for
reasons that have nothing to do with arithmetic (measured in docs/speed.md), so there each has a form of its own; a TPU
or GPU gets what automatic differentiation gives.
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
    return _convolve(x, kernel, stride, kernel.shape[0] // 2, precision)


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
        even = x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0
        if not (stride == 2 and kernel.shape[0] == 3 and even):
            return plain(x, kernel, dy)
        d_kernel = jax.vjp(lambda kernel: plain_convolution(x, kernel), kernel)[1](dy)[0]
        return _strided_input_gradient(kernel, dy, precision), d_kernel

    return _for_cpu(cpu, plain)(*kept, dy)


convolution.defvjp(_convolution_forward, _convolution_backward)


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
    rows = [jnp.stack(part, axis=3) for part in parts]
    b, h, w, _ = dy.shape
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, kernel.shape[2])
