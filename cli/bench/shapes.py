"""The tensors that are updated: some sets with names, or ``N x size``."""

import math
import re
from collections.abc import Callable, Sequence
from shlex import quote

from lion_ports.errors import ConfigError

Shapes = Sequence[tuple[int, ...]]


def _transformer() -> Shapes:
    """33.6 M parameters in 49 tensors: an embedding and 8 blocks of width 512."""
    width, vocabulary = 512, 16_384
    block = [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)]
    return [(vocabulary, width), *(8 * [*block, (width,), (width,)])]


NAMED: dict[str, Callable[[], Shapes]] = {
    "transformer": _transformer,
    "one-large": lambda: [(33_554_432,)],
    "many-small": lambda: 1_000 * [(1_000,)],
    "norms": lambda: 400 * [(768,)],
}

WORDS = {
    "transformer": "8 blocks of width 512 and an embedding: 33.6 M parameters in 49 tensors",
    "one-large": "32 Mi parameters in one tensor",
    "many-small": "1 M parameters in 1,000 tensors",
    "norms": "0.3 M parameters in 400 tensors",
}

_PATTERN = re.compile(r"(\d+)\s*x\s*(\d+(?:x\d+)*)")


def parse(text: str) -> Shapes:
    """``"transformer"``, ``"3x1000"``, or ``"3x100x200"`` for three matrices.

    Raises:
        ConfigError: it is neither a name nor such a product, or there is nothing in it.

    >>> parse("2x10"), parse("1 x 4x5")
    ([(10,), (10,)], [(4, 5)])
    """
    if text in NAMED:
        return NAMED[text]()
    found = _PATTERN.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"--shapes {quote(text)}: neither one of {', '.join(NAMED)} nor COUNTxSIZE, as in "
            "100x5000 or 8x512x512"
        )
    count, shape = int(found[1]), tuple(int(size) for size in found[2].split("x"))
    if count == 0 or 0 in shape:
        raise ConfigError(f"--shapes {quote(text)}: has no elements")
    if count > 100_000:
        raise ConfigError(f"--shapes {quote(text)}: at most 100,000 tensors")
    return count * [shape]


def size(shapes: Sequence[tuple[int, ...]]) -> int:
    """The number of parameters.

    >>> size([(2, 3), (4,)])
    10
    """
    return sum(math.prod(shape) for shape in shapes)
