"""Layers whose initial values or statistics follow PyTorch: Linear, convolutions (also transposed), BatchNorm."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def torch_uniform(fan_in: int):
    """U(+-1/sqrt(fan_in)): PyTorch's default for biases and, as Kaiming uniform with a = sqrt(5), for weights."""
    bound = 1 / math.sqrt(fan_in)

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def precision(dtype: str) -> jax.lax.Precision:
    """float32 means float32: by default a TPU multiplies float32 operands in bfloat16 passes, a GPU in TF32."""
    return jax.lax.Precision.HIGHEST if dtype == "float32" else jax.lax.Precision.DEFAULT


def linear_kernel_init(name: str):
    """`MeDSLIPConfig.linear_init` -> an initialiser: N(0, 0.02) as released (SPEC 3), or Xavier uniform."""
    return {"released": nn.initializers.normal(0.02), "xavier": nn.initializers.xavier_uniform()}[name]


class Linear(nn.Module):
    """y = x W + b over the last axis; W by `kernel_init` (or "torch", PyTorch's), b by PyTorch's default or zero."""

    features: int
    kernel_init: str = "released"
    bias_init: str = "torch"
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
        fan_in = x.shape[-1]
        bias_init = torch_uniform(fan_in) if self.bias_init == "torch" else nn.initializers.zeros
        kernel_init = torch_uniform(fan_in) if self.kernel_init == "torch" else linear_kernel_init(self.kernel_init)
        kernel = self.param("kernel", kernel_init, (fan_in, self.features))
        bias = self.param("bias", bias_init, (self.features,))
        x, kernel, bias = (jnp.asarray(v, self.dtype) for v in (x, kernel, bias))
        return jnp.matmul(x, kernel, precision=precision(self.dtype)) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


class PointwiseConv(nn.Module):
    """A 1 x 1 convolution without bias, as a matrix product on the channel axis.

    Same numbers as a convolution; on CPU its weight gradient is 2 - 11 times faster (DESIGN). Stride is slicing.
    """

    features: int
    stride: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        kernel = self.param("kernel", torch_uniform(x.shape[-1]), (x.shape[-1], self.features))
        x = x[:, :: self.stride, :: self.stride]
        x, kernel = jnp.asarray(x, self.dtype), jnp.asarray(kernel, self.dtype)
        return jnp.matmul(x, kernel, precision=precision(self.dtype))


class Conv(nn.Module):
    """A k x k convolution with explicit symmetric padding k // 2, as torchvision's; `bias` "none" or "torch"."""

    features: int
    size: int
    stride: int = 1
    dtype: str = "float32"
    bias: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        fan_in = self.size**2 * x.shape[-1]
        kernel = self.param("kernel", torch_uniform(fan_in), (self.size, self.size, x.shape[-1], self.features))
        pad = self.size // 2
        y = jax.lax.conv_general_dilated(
            jnp.asarray(x, self.dtype),
            jnp.asarray(kernel, self.dtype),
            window_strides=(self.stride, self.stride),
            padding=((pad, pad), (pad, pad)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=precision(self.dtype),
        )
        if self.bias == "none":
            return y
        bias = self.param("bias", torch_uniform(fan_in), (self.features,))
        return y + jnp.asarray(bias, self.dtype).reshape(1, 1, 1, -1)


class TransposedConv(nn.Module):
    """A transposed convolution whose stride is its size, so that outputs do not overlap: one matrix product."""

    features: int
    size: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hs ws d"]:
        b, h, w, c = x.shape
        # PyTorch takes the output channels for the fan-in of a transposed convolution.
        init = torch_uniform(self.features * self.size**2)
        kernel = self.param("kernel", init, (c, self.size, self.size, self.features))
        bias = jnp.asarray(self.param("bias", init, (self.features,)), self.dtype)
        x, kernel = jnp.asarray(x, self.dtype), jnp.asarray(kernel, self.dtype).reshape(c, -1)
        y = jnp.matmul(x, kernel, precision=precision(self.dtype)).reshape(b, h, w, self.size, self.size, -1)
        y = y.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * self.size, w * self.size, self.features)
        return y + bias.reshape(1, 1, 1, -1)


class BatchNorm(nn.Module):
    """Batch normalisation with PyTorch's bookkeeping: eps 1e-5, momentum 0.1, unbiased running variance.

    `flax.linen.BatchNorm` keeps the biased variance, which differs by n / (n - 1). Under jit the mean is over the
    global batch, whatever the sharding. Statistics are float32; the result has the input's dtype.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,))
        if train:
            wide = jnp.asarray(x, jnp.float32)
            # Mean and variance in one pass over the activations: both around the running mean, which keeps the
            # difference of squares from cancelling.
            around = jax.lax.stop_gradient(running_mean.value)
            centred = wide - around.reshape(1, 1, 1, c)
            offset = centred.mean((0, 1, 2))
            mean = around + offset
            var = jnp.maximum(jnp.square(centred).mean((0, 1, 2)) - jnp.square(offset), 0)
            if not self.is_initializing():
                n = x.size // c
                keep = 1 - self.momentum
                running_mean.value = keep * running_mean.value + self.momentum * mean
                running_var.value = keep * running_var.value + self.momentum * var * (n / max(n - 1, 1))
        else:
            mean, var = running_mean.value, running_var.value
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        shift = bias - mean * gain
        wide = jnp.asarray(x, jnp.float32) * gain.reshape(1, 1, 1, c) + shift.reshape(1, 1, 1, c)
        return jnp.asarray(wide, x.dtype)
