"""Parameters and, beside each of them, its slots in the optimizer's state."""

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map, tree_map_with_path

from lion_ports.errors import StateError

Slots = dict[str, mx.array]
Leaf = tuple[str, mx.array, Slots]
"""Dotted path, parameter and slots."""

RESERVED = ("step", "learning_rate", "lion")
"""Keys of the state that are no parameters."""


def slot_key(name: str) -> str:
    """Where the state keeps the top-level parameter or module of this name."""
    return f"parameter:{name}" if name in RESERVED else name


def entries(tree: Any, state: Any, path: str = "") -> Iterator[Leaf]:
    """Every array in a tree with its slots; the state grows to the tree's shape.

    Raises:
        StateError: it cannot, as it is that of another tree.
    """
    if isinstance(state, dict) == isinstance(tree, (list, tuple)):
        raise StateError(
            f"the state of {path or 'the parameters'} is not that of this tree; give one of these "
            "parameters, or let the optimizer begin anew"
        )
    if isinstance(tree, dict):
        for name, child in tree.items():
            beside = state.setdefault(name if path else slot_key(name), _like(child))
            yield from entries(child, beside, f"{path}.{name}" if path else name)
    elif isinstance(tree, (list, tuple)):
        state.extend(_like(child) for child in tree[len(state) :])
        for i, (child, beside) in enumerate(zip(tree, state, strict=False)):
            yield from entries(child, beside, f"{path}.{i}")
    elif isinstance(tree, mx.array):
        yield path, tree, state


def known(tree: Any, state: Any, *, top: bool = True) -> Any:
    """The part of a tree that has slots in the state."""
    if isinstance(tree, dict):
        keys = {name: slot_key(name) if top else name for name in tree}
        return {n: known(tree[n], state[k], top=False) for n, k in keys.items() if k in state}
    if isinstance(tree, (list, tuple)):
        return [known(child, s, top=False) for child, s in zip(tree, state, strict=False)]
    return tree


def replaced(tree: Any, new: dict[str, mx.array]) -> Any:
    """The tree with new arrays at some paths."""
    return tree_map_with_path(lambda path, x: new.get(path, x), tree)


def packed(tree: Any) -> Any:
    """A tree that may be pickled: a float64 array would come back from it as float32."""
    return tree_map(lambda a: np.array(a) if _is_wide(a) else a, tree)


def unpacked(tree: Any) -> Any:
    """What was packed."""
    return tree_map(lambda a: mx.array(a, mx.float64) if isinstance(a, np.ndarray) else a, tree)


def _is_wide(leaf: Any) -> bool:
    return isinstance(leaf, mx.array) and leaf.dtype == mx.float64


def _like(tree: Any) -> Any:
    return [] if isinstance(tree, (list, tuple)) else {}
