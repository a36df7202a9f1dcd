"""MeDSLIP in PyTorch, for inference: reads what `medslip convert` writes, and the released checkpoint.

Written from the description of the network (SPEC 3, 8), not from the Flax modules, so that their agreement is
evidence for both. Nothing here imports JAX, and no released code is needed. There is no dropout and no
initialisation recipe: train with the Flax model.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float, UInt8

from medslip_jax.errors import InputError, from_section
from medslip_jax.models.config import MeDSLIPConfig
from medslip_jax.storage import tensor_files, tensor_reading
from medslip_jax.storage.matching import match, shapes_of
from medslip_jax.text import books as text_books

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError(f"medslip_jax.weights.torch.torch_model needs PyTorch; {tensor_files.INSTALL}") from error

# Blocks in layer1, layer2, layer3.
_DEPTHS = {"resnet50": (3, 4, 6), "resnet18": (2, 2, 2)}


class MeDSLIP(nn.Module):
    """The whole network, in evaluation mode; names and order of `state_dict()` are those of the released file.

    Example:
      import torch
      from medslip_jax.weights.torch.torch_model import MeDSLIP, preprocess, probabilities

      model = MeDSLIP.from_file("medslip.pth")  # or a directory of save_pretrained
      out = model(preprocess(grey))  # grey: uint8 (2, 224, 224), black 0 .. white 255
      probabilities(out)["pathology"]  # (2, 75), classes in the order of vocabulary.json
      out["pathology"]["attention"].mean(dim=1).unflatten(-1, (14, 14))  # (2, 75, 14, 14): where each query looked

    On a GPU, PyTorch convolves in TF32 unless `torch.backends.cudnn.allow_tf32 = False`.

    The arguments are the fields of `MeDSLIPConfig`, with its defaults: the paper's model. Those of training alone
    change nothing, and neither does `dtype`: the module computes in its weights' type.

    Raises:
      InputError: a value that no model can have.
    """

    def __init__(self, **fields: str | int | float | bool):
        super().__init__()
        c = from_section(MeDSLIPConfig, fields, name="model")
        self.stream_names, self.text_dim, self.mask_activation = c.stream_names, c.text_dim, c.mask_activation
        self._add_encoder(c)
        norm = nn.LayerNorm(c.embed_dim)
        for stream in reversed(self.stream_names):
            layers = [DecoderLayer(c.embed_dim, c.decoder_heads, c.decoder_ffn_dim) for _ in range(c.decoder_layers)]
            self.add_module(f"decoder_{stream}", QueryDecoder(layers, norm))
        for stream in reversed(self.stream_names):
            self.add_module(f"classifier_{stream}", nn.Linear(c.embed_dim, 2))
        # What the released model lacks comes last, so that its order stays.
        if not c.share_query_projection and c.streams == "dual":
            self.anatomy_embedding_layer = nn.Linear(c.text_dim, c.embed_dim)
        for stream in self.stream_names if c.patch_norm == "layer_norm" else ():
            self.add_module(f"patch_norm_{stream}", nn.LayerNorm(c.embed_dim))
        for stream in self.stream_names:
            self.register_buffer(f"{stream}_book", None, persistent=False)
        self.eval()

    def _add_encoder(self, c: MeDSLIPConfig) -> None:
        """Query projection, trunk, mask, and per stream ProtoCL projection and patch layers, in released order."""
        channels = _block_channels(c.backbone, 4 * c.trunk_width)
        self.pathology_embedding_layer = nn.Linear(c.text_dim, c.embed_dim)
        for stream in self.stream_names:
            self.add_module(f"cl_fc_{stream}", nn.Linear(c.embed_dim, c.text_dim))
            if stream == "pathology":
                self.res_features = nn.Sequential(*_trunk(c.backbone, c.trunk_width))
            self.add_module(f"res_l1_{stream}", nn.Linear(channels, channels))
            self.add_module(f"res_l2_{stream}", nn.Linear(channels, c.embed_dim))
        if len(self.stream_names) == 2 and self.mask_activation != "off":
            self.mask_generator = nn.Linear(channels, channels)

    def forward(
        self,
        image: Float[Tensor, "b 3 h w"],
        pathology_book: Float[Tensor, "p t"] | None = None,
        anatomy_book: Float[Tensor, "a t"] | None = None,
    ) -> dict[str, dict[str, Tensor]]:
        """Scores every row of the text tables on every image.

        Args:
          image: float32, normalised as by `preprocess`.
          pathology_book: text table with one row a query, as prepared in training (`text.books.prepared`); by
            default the one that came with the weights.
          anatomy_book: the same for anatomies.

        Returns:
          For each stream a dict: "patches" (b n d), "features" (b q d), "logits" (b q 2; index 1 = present),
          "projection" (b q t) and "attention" (b layers q n, head average).

        Raises:
          InputError: a table is needed and there is none, or its width is not the model's.
        """
        given = {"pathology": pathology_book, "anatomy": anatomy_book}
        books = {stream: self._book(stream, given[stream]) for stream in self.stream_names}
        out = {}
        for stream, x in self._disentangle(self.res_features(image).flatten(2).transpose(1, 2)).items():
            patches = self._layer("res_l2", stream)(self._layer("res_l1", stream)(x).relu())
            if hasattr(self, f"patch_norm_{stream}"):
                patches = self._layer("patch_norm", stream)(patches)
            project = getattr(self, f"{stream}_embedding_layer", self.pathology_embedding_layer)
            queries = project(books[stream]).expand(len(image), -1, -1)
            features, attention = self._layer("decoder", stream)(queries, patches)
            out[stream] = {
                "patches": patches,
                "features": features,
                "logits": self._layer("classifier", stream)(features),
                "projection": self._layer("cl_fc", stream)(features),
                "attention": attention,
            }
        return out

    def _disentangle(self, x: Float[Tensor, "b n c"]) -> dict[str, Tensor]:
        """SPEC 3.2: pathology patches m x, anatomy patches (1 - m) x."""
        if not hasattr(self, "mask_generator"):
            return dict.fromkeys(self.stream_names, x)
        mask = self.mask_generator(x)
        if self.mask_activation == "sigmoid":
            mask = mask.sigmoid()
        return {"pathology": mask * x, "anatomy": (1 - mask) * x}

    def _layer(self, name: str, stream: str) -> nn.Module:
        return getattr(self, f"{name}_{stream}")

    def _book(self, stream: str, given: Tensor | None) -> Tensor:
        book = getattr(self, f"{stream}_book") if given is None else given
        if book is None:
            hint = "pass it to the model, or a file of `medslip books` to from_file(..., books=...)"
            raise InputError(f"{stream}_book: no text table came with the weights; {hint}")
        if book.ndim != 2 or book.shape[1] != self.text_dim:
            raise InputError(f"{stream}_book: shape {tuple(book.shape)}, expected (queries, {self.text_dim})")
        weight = self.pathology_embedding_layer.weight
        return torch.as_tensor(book, dtype=weight.dtype, device=weight.device)

    @classmethod
    def from_file(cls, path: str | Path, *, books: str | Path | None = None) -> "MeDSLIP":
        """A model in evaluation mode without gradients, from what `medslip convert` or `save_pretrained` wrote.

        Args:
          path: `.pth` or `.safetensors` with its side files `NAME.json` and `NAME.books.npz`; a directory with
            `model.safetensors`, `config.json` and `books.npz`; or a bare released state_dict (the paper's model).
          books: a file of `medslip books`, in place of the tables beside the weights; it is prepared as they are.

        Raises:
          InputError: an unreadable file, one of another model, or weights or tables that do not fit; in one line.
        """
        weights = Path(path)
        if weights.is_dir():
            weights /= tensor_files.PRETRAINED_WEIGHTS
        info = tensor_files.read_info(weights)
        try:
            tables = _tables(info)
            model = cls(**info.get("model", {}))
        except InputError as error:
            raise InputError(f"{tensor_files.info_file(weights)}: {error}") from error
        state = tensor_reading.read_state(weights)["state"]
        try:
            model._load(state)
        except InputError as error:
            raise InputError(f"{weights}: {error}") from error
        if books is None and tensor_files.books_file(weights).is_file():
            books = tensor_files.books_file(weights)
        if books is not None:
            model._set_books(Path(books), tables=tables)
        return model.requires_grad_(False)

    def _load(self, given: Mapping[str, np.ndarray]) -> None:
        state = tensor_reading.canonical(given)
        own = self.state_dict()
        counters = {name: own[name] for name in own.keys() - state.keys() if name.endswith("num_batches_tracked")}
        wanted = {name: tensor for name, tensor in own.items() if name not in counters}
        match(shapes_of(state), shapes_of(wanted)).check("PyTorch state_dict")
        for name in [name for name in state if name.startswith("decoder_anatomy.norm.")]:
            if not np.array_equal(state[name], state[name.replace("anatomy", "pathology")]):
                raise InputError(f"{name} differs from the pathology decoder's norm, which it must equal")
        self.load_state_dict({name: torch.tensor(array) for name, array in state.items()} | counters, strict=True)

    def _set_books(self, path: Path, *, tables: text_books.TextTables) -> None:
        books = text_books.prepared(text_books.load_books(path), text_tables=tables)
        if books.width != self.text_dim:
            raise InputError(f"{path}: text tables of width {books.width}; the model needs {self.text_dim}")
        for stream in self.stream_names:
            setattr(self, f"{stream}_book", torch.tensor(getattr(books, stream)))


class QueryDecoder(nn.Module):
    """Pre-norm layers (SPEC 3.6); the final norm is given, as both streams share one."""

    def __init__(self, layers: list["DecoderLayer"], norm: nn.LayerNorm):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, x: Float[Tensor, "b q d"], patches: Float[Tensor, "b n d"]) -> tuple[Tensor, Tensor]:
        """Features (b q d) and attention maps (b layers q n)."""
        maps = []
        for layer in self.layers:
            x, attention = layer(x, patches)
            maps.append(attention)
        return self.norm(x), torch.stack(maps, dim=1)


class DecoderLayer(nn.Module):
    """Self-attention among queries, cross-attention to the patches, feed-forward; each pre-norm and residual."""

    def __init__(self, dim: int, heads: int, hidden: int):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def forward(self, x: Float[Tensor, "b q d"], patches: Float[Tensor, "b n d"]) -> tuple[Tensor, Tensor]:
        y = self.norm1(x)
        x = x + self.self_attn(y, y, y, need_weights=False)[0]
        mixed, attention = self.multihead_attn(self.norm2(x), patches, patches, average_attn_weights=True)
        x = x + mixed
        return x + self.linear2(self.linear1(self.norm3(x)).relu()), attention


class ResidualBlock(nn.Module):
    """1 x 1 -> 3 x 3 -> 1 x 1 (ResNet-50) or 3 x 3 -> 3 x 3 (ResNet-18); the stride is on the first 3 x 3."""

    def __init__(self, backbone: str, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = _block_channels(backbone, width)
        sizes = (1, 3, 1) if backbone == "resnet50" else (3, 3)
        self.depth = len(sizes)
        channels = (inputs, *[width] * (self.depth - 1), outputs)
        for i, size in enumerate(sizes):
            step = stride if i == sizes.index(3) else 1
            conv = nn.Conv2d(channels[i], channels[i + 1], size, step, padding=size // 2, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(channels[i + 1]))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.depth else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


def preprocess(image: UInt8[Tensor, "b h w"] | UInt8[np.ndarray, "b h w"]) -> Float[Tensor, "b 3 h w"]:
    """Grey uint8 -> three channels in [0, 1], then ImageNet mean and standard deviation (SPEC 3.1).

    Resize first: the model was trained on one image size (224 as released).
    """
    image = torch.as_tensor(image)
    if image.dtype != torch.uint8 or image.ndim != 3:
        raise InputError(f"image: {image.dtype} {tuple(image.shape)}; expected grey uint8 (batch, height, width)")
    mean, std = image.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], dtype=torch.float32)[..., None, None]
    return (image[:, None].float() / 255 - mean) / std


def probabilities(out: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Float[Tensor, "b q"]]:
    """Per stream, the probability that each class is present."""
    return {stream: values["logits"].softmax(dim=-1)[..., 1] for stream, values in out.items()}


def _trunk(backbone: str, width: int) -> Iterator[nn.Module]:
    """torchvision's children by position, which gives them their names: conv1, bn1, relu, maxpool, layer1 .. 3."""
    yield nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
    yield nn.BatchNorm2d(width)
    yield nn.ReLU()
    yield nn.MaxPool2d(3, 2, padding=1)
    inputs = width
    for i, depth in enumerate(_DEPTHS[backbone]):
        blocks = []
        for j in range(depth):
            stride = 2 if i > 0 and j == 0 else 1
            blocks.append(ResidualBlock(backbone, inputs, width * 2**i, stride))
            inputs = _block_channels(backbone, width * 2**i)
        yield nn.Sequential(*blocks)


def _block_channels(backbone: str, width: int) -> int:
    return 4 * width if backbone == "resnet50" else width


def _tables(info: Mapping) -> text_books.TextTables:
    """How a weights file's description wants its text tables; `InputError` if it describes another kind of model."""
    if info.get("kind", "medslip") != "medslip":
        raise InputError(f"describes a model of kind {info['kind']!r}; expected 'medslip'")
    tables = info.get("books", {}).get("tables", "as_is")
    if tables not in get_args(text_books.TextTables):
        raise InputError(f"books.tables={tables!r}: must be one of {', '.join(get_args(text_books.TextTables))}")
    return tables
