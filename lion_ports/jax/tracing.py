"""What is done to each parameter, traced once for all that are alike."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax


def traced_once(function: Callable[..., Any], static: Any, *args: Any) -> Any:
    """``function(static, *args)``, traced once for all arguments of the same shapes and dtypes.

    A model of two thousand tensors has a few shapes. Python traces each of these instead of each
    tensor, and compiles them where nothing else is compiled; in the program nothing is changed.

    Args:
        function: a pure function, the same object every time.
        static: whatever can be hashed.
        args: trees; numbers and strings in them stay what they are, all else is traced.

    >>> traced_once(lambda power, x, factor: factor * x**power, 2, jax.numpy.arange(3), 5).tolist()
    [0, 5, 20]
    """
    leaves, treedef = jax.tree.flatten(args)
    plain = tuple(leaf if isinstance(leaf, bool | int | float | str) else None for leaf in leaves)
    arrays = [leaf for leaf, kept in zip(leaves, plain, strict=True) if kept is None]
    return _called(function, static, treedef, plain, arrays)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _called(
    function: Callable[..., Any], static: Any, treedef: Any, plain: tuple[Any, ...], arrays: Any
) -> Any:
    rest = iter(arrays)
    leaves = [next(rest) if kept is None else kept for kept in plain]
    return function(static, *treedef.unflatten(leaves))
