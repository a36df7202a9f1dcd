"""Layers whose initial values or statistics follow PyTorch: Linear, convolutions (also transposed), BatchNorm."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from medslip_jax.models.convolutions import convolution, pointwise


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
        return affine(x, kernel, bias, dtype=self.dtype)


def affine(x: Float[Array, "*b c"], kernel: Float[Array, "c d"], bias: Float[Array, " d"], *, dtype: str) -> Array:
    """x W + b, computed in `dtype`."""
    x, kernel, bias = (jnp.asarray(v, dtype) for v in (x, kernel, bias))
    return pointwise(x, kernel, precision(dtype)) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


class Projection(nn.Module):
    """The kernel and bias (zero at first) of a linear layer that is computed together with others."""

    features: int
    kernel_init: str = "released"

    @nn.compact
    def __call__(self, fan_in: int) -> tuple[Float[Array, "c d"], Float[Array, " d"]]:
        kernel = self.param("kernel", linear_kernel_init(self.kernel_init), (fan_in, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


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
        return pointwise(x, kernel, precision(self.dtype))


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
        x, kernel = jnp.asarray(x, self.dtype), jnp.asarray(kernel, self.dtype)
        y = convolution(x, kernel, self.stride, precision(self.dtype))
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

    Where the variables are those of `folding.fold`, its gain is in the convolution before it, and it adds "shift".

    Attributes:
      groups: of consecutive images, each normalised by its own statistics; the running ones get their mean. With a
        batch that is split evenly over devices, the devices of different groups need not communicate: PyTorch's DDP is
        one group a device.
    """

    groups: int = 1
    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        c, groups = x.shape[-1], self.groups
        if self.has_variable("params", "shift"):
            return self._folded(x, train=train)
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,))
        if not train:
            return _normalised(x, running_mean.value, running_var.value, scale, bias, epsilon=self.epsilon)
        if x.shape[0] % groups:
            raise ValueError(f"{x.shape[0]} images in {groups} groups of batch statistics")
        mean, var = _statistics(x, running_mean.value, groups=groups)
        if not self.is_initializing():
            n = x.size // c // groups
            keep = 1 - self.momentum
            running_mean.value = keep * running_mean.value + self.momentum * mean.mean(0)
            running_var.value = keep * running_var.value + self.momentum * var.mean(0) * (n / max(n - 1, 1))
        return _normalised(x, mean, var, scale, bias, epsilon=self.epsilon)

    def _folded(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        if train:
            raise ValueError("folded variables are for inference; train with those that were given to `folding.fold`")
        shift = jnp.asarray(self.get_variable("params", "shift"), jnp.float32)
        return jnp.asarray(jnp.asarray(x, jnp.float32) + shift.reshape(1, 1, 1, -1), x.dtype)


def _statistics(x: Float[Array, "b h w c"], around: Float[Array, " c"], *, groups: int) -> tuple[Array, Array]:
    """Mean and biased variance of every group, (groups, c), in one pass over the activations.

    Both around the running mean, which keeps the difference of squares from cancelling.
    """
    around = jax.lax.stop_gradient(around).reshape(1, -1)

    def means(v: Array) -> Float[Array, "g c"]:
        return v.reshape(groups, -1, *v.shape[1:]).mean((1, 2, 3)) if groups > 1 else v.mean((0, 1, 2))[None]

    centred = jnp.asarray(x, jnp.float32) - around.reshape(1, 1, 1, -1)
    offset = means(centred)
    return around + offset, jnp.maximum(means(jnp.square(centred)) - jnp.square(offset), 0)


def _normalised(
    x: Float[Array, "b h w c"], mean: Array, var: Array, scale: Array, bias: Array, *, epsilon: float
) -> Float[Array, "b h w c"]:
    """With statistics (c) for all images, or (groups, c)."""
    c = x.shape[-1]
    mean, var = mean.reshape(-1, c), var.reshape(-1, c)
    gain = scale.reshape(1, c) * jax.lax.rsqrt(var + epsilon)
    shift = bias.reshape(1, c) - mean * gain
    if len(mean) > 1:
        gain, shift = (jnp.repeat(v, x.shape[0] // len(mean), axis=0) for v in (gain, shift))
    wide = jnp.asarray(x, jnp.float32) * gain.reshape(-1, 1, 1, c) + shift.reshape(-1, 1, 1, c)
    return jnp.asarray(wide, x.dtype)
