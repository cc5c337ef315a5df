"""The transformer's dimensions and the canonical names and shapes of its parameters.

Letters in the names of arrays, the same in the three models:

    B batch   T position   D width   H head   K size of a head   F hidden width   V vocabulary
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lion_ports.trainers.errors import DataError

BYTES = 256
"""The vocabulary: one token a byte, so that no text is out of range."""

NORM_EPSILON = 1e-5
ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class Architecture:
    """A decoder-only transformer: pre-norm, RMSNorm, rotary positions, SwiGLU, tied embedding.

    Args:
        layers: number of blocks.
        width: D, size of the residual stream; a multiple of ``heads``.
        heads: number of attention heads; ``width / heads`` is even.
        hidden: F, size inside the feed-forward part.
        sequence: T, tokens a window; longer texts are cut to their last T tokens.
        vocabulary: V.
    """

    layers: int
    width: int
    heads: int
    hidden: int
    sequence: int
    vocabulary: int = BYTES

    @property
    def head_size(self) -> int:
        """K."""
        return self.width // self.heads

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical name -> shape, in the order of the forward pass; matrices are [out, in]."""
        d, f = self.width, self.hidden
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (self.vocabulary, d)}
        for i in range(self.layers):
            block = f"blocks.{i}"
            shapes[f"{block}.attention_norm.weight"] = (d,)
            shapes[f"{block}.attention.qkv.weight"] = (3 * d, d)
            shapes[f"{block}.attention.out.weight"] = (d, d)
            shapes[f"{block}.feedforward_norm.weight"] = (d,)
            shapes[f"{block}.feedforward.gate.weight"] = (f, d)
            shapes[f"{block}.feedforward.up.weight"] = (f, d)
            shapes[f"{block}.feedforward.down.weight"] = (d, f)
        shapes["norm.weight"] = (d,)
        return shapes

    def parameter_count(self) -> int:
        """Number of trainable scalars."""
        total = 0
        for shape in self.shapes().values():
            size = 1
            for dimension in shape:
                size *= dimension
            total += size
        return total


def decays(shape: tuple[int, ...]) -> bool:
    """Weight decay is for matrices; the gains of the norms are left alone."""
    return len(shape) >= 2


def check_tensors(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Compare names and shapes with what is expected.

    Raises:
        DataError: naming the first tensor that is missing, unknown or of another shape.
    """
    for name, shape in shapes.items():
        if name not in tensors:
            raise DataError(f"the tensor {name!r} is missing from the checkpoint")
        found = tuple(tensors[name].shape)
        if found != shape:
            raise DataError(f"the tensor {name!r} has shape {found}; the model needs {shape}")
    unknown = [name for name in tensors if name not in shapes]
    if unknown:
        raise DataError(f"the checkpoint has a tensor that the model lacks: {unknown[0]!r}")
