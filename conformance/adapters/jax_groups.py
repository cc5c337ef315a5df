"""Optax transforms whose numbers change from step to step, one for each parameter group."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from lion_ports.conformance.protocol import UnsupportedError
from lion_ports.conformance.trial import Group

FROZEN = "frozen"
"""The label of what is not trained; parameter groups have their numbers as labels."""

# What a group may change: all else belongs to the transform, whose `b1` is a number for good.
_NUMBERS = {"lr": "learning_rate", "weight_decay": "weight_decay"}


def injected(
    make: Callable[..., Any], settings: Mapping[str, Any], changing: bool, dtype: Any
) -> Any:
    """A transform with its learning rate in its state, and with its weight decay if that changes.

    Args:
        make: of the settings by their names.
        settings: of one transform.
        changing: whether the weight decay does.
        dtype: of these numbers. They would else take that of the gradients, bfloat16 or complex.
    """
    fixed = {n: v for n, v in settings.items() if n != "lr"}

    def rate(learning_rate: Any) -> Any:
        return make(lr=learning_rate, **fixed)

    def both(learning_rate: Any, weight_decay: Any) -> Any:
        return make(**{**fixed, "lr": learning_rate, "weight_decay": weight_decay})

    if not changing:
        return optax.inject_hyperparams(rate, hyperparam_dtype=dtype)(settings["lr"])
    inject = optax.inject_hyperparams(both, hyperparam_dtype=dtype)
    return inject(settings["lr"], settings["weight_decay"])


def partitioned(
    make: Callable[..., Any], settings: Mapping[str, Any], groups: tuple[Group, ...],
    frozen: frozenset[str], dtype: Any,
) -> Any:  # fmt: skip
    """``optax.partition`` of a transform for each group, and of nothing for what is frozen."""
    transforms: dict[str, Any] = {}
    labels = dict.fromkeys(frozen, FROZEN)
    for k, group in enumerate(groups):
        changing = "weight_decay" in _changing(group)
        own = {**settings, **group.settings}
        if "betas" in own:
            own["b1"], own["b2"] = own.pop("betas")
        transforms[str(k)] = injected(make, own, changing, dtype)
        labels |= {name: str(k) for name in group.names if name not in frozen}
    return optax.partition({**transforms, FROZEN: optax.set_to_zero()}, labels)


def own_numbers(group: Group) -> dict[str, Any]:
    """Of a group's settings, those that are in its state: a rate of its own, and what changes."""
    names = {"lr", *_changing(group)} & _NUMBERS.keys()
    return numbers_of({n: v for n, v in group.settings.items() if n in names})


def _changing(group: Group) -> set[str]:
    return {name for change in group.changes.values() for name in change}


def numbers_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Changed settings, as a transform's state has them.

    Raises:
        UnsupportedError: they are not all numbers of the state.
    """
    for name in settings:
        if name not in _NUMBERS:
            raise UnsupportedError(f"{name} that change")
    return {_NUMBERS[name]: value for name, value in settings.items()}


def with_numbers(state: Any, numbers: Mapping[str, Mapping[str, Any]]) -> Any:
    """The state with other numbers in the transform of each label; "" is the only one."""
    if "" in numbers:
        return state._replace(hyperparams={**state.hyperparams, **numbers[""]})
    inner = dict(state.inner_states)
    for label, own in numbers.items():
        inner[label] = inner[label]._replace(
            inner_state=with_numbers(inner[label].inner_state, {"": own})
        )
    return state._replace(inner_states=inner)


def momentum_in(
    state: Any, params: dict[str, Any], groups: tuple[Group, ...], frozen: frozenset[str]
) -> dict[str, Any] | None:
    """The first tree in each transform's state that looks like its parameters, or None.

    What is frozen has no momentum, which is one of zero.
    """
    if not groups:
        return _like(state, params, params)
    found = {n: jnp.zeros_like(params[n]) for n in frozen}
    for k, group in enumerate(groups):
        names = [name for name in group.names if name not in frozen]
        tree = _like(state.inner_states[str(k)], params, names)
        if tree is None:
            return None
        found |= tree
    return found


def _like(state: Any, params: dict[str, Any], names: Iterable[str]) -> dict[str, Any] | None:
    """From the first dict in the state with the parameters' names, what has these ones' shapes."""
    if isinstance(state, dict) and state.keys() == params.keys():
        if all(getattr(state[n], "shape", None) == params[n].shape for n in names):
            return {n: state[n] for n in names}
        return None
    if isinstance(state, tuple):
        trees = (_like(part, params, names) for part in state)
        return next((tree for tree in trees if tree is not None), None)
    return None


def arrays(tree: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """As NumPy arrays of their own."""
    return {n: np.array(x) for n, x in tree.items()}
