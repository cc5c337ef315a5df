"""A step of a whole tree of parameters."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from lion_ports.config import LionConfig, scheduled
from lion_ports.jax.arithmetic import chosen, opaque_zero
from lion_ports.jax.gradients import effective_gradients
from lion_ports.jax.lion_state import LionState, named_leaves, stored
from lion_ports.jax.update import average, lion_move, lion_update, moved, unmoved


class Form(NamedTuple):
    """What a step returns for each parameter, and how the new parameter is had from that."""

    update: Callable[..., tuple[Array, Array]]
    stays: Callable[[Array], Array]
    applied: Callable[[Array, Array], Array]


IN_PLACE = Form(lion_update, stays=lambda x: x, applied=lambda x, new: new)
AS_TRANSFORM = Form(lion_move, stays=unmoved, applied=moved)


def step(
    form: Form,
    config: LionConfig,
    mask: Any,
    params: Any,
    grads: Any,
    state: LionState,
    *,
    lr: Any = None,
) -> tuple[Any, LionState]:
    """One step of a tree of parameters.

    Args:
        form: what to return for each parameter.
        config: settings.
        mask: what decays (L-017); None: everything.
        params: parameters.
        grads: gradients, a tree like the parameters, with None for one without (L-003).
        state: from ``init`` or the step before.
        lr: in place of ``config.lr``.

    Returns:
        A tree like the parameters, as ``form`` has it, and the new state.

    Raises:
        ConfigError: a gradient does not have the shape of its parameter.
        NonFiniteError: under ``nonfinite="raise"`` (L-019).
    """
    treedef: Any
    xs, treedef = jax.tree.flatten(params)
    xs = [jnp.asarray(x) for x in xs]
    leaves: Iterable[list[Any]] = (
        [None] * len(xs) if tree is None else treedef.flatten_up_to(tree)
        for tree in (grads, state.mu, state.grad_sum, state.average)
    )
    gs, ms, sums, es = leaves
    names = [name for name, _ in named_leaves(params)]
    mask = mask(params) if callable(mask) else mask
    decays = [True] * len(xs) if mask is None else jax.tree.leaves(jax.tree.broadcast(mask, params))
    lr = scheduled("lr", config.lr, state.count) if lr is None else lr  # L-015
    wd = scheduled("weight_decay", config.weight_decay, state.count)

    count = optax.safe_increment(state.count)
    zero = opaque_zero(count)
    due, state = effective_gradients(xs, gs, names, state._replace(grad_sum=sums), config, zero)
    out = [form.stays(x) for x in xs]
    for i, (x, g, moves) in enumerate(zip(xs, due.grads, due.moves, strict=True)):
        if g is None:  # L-003
            continue
        scalars = config.scalars(lr, wd, state.lr_peak, decays=decays[i])
        out[i], ms[i] = form.update(x, g, ms[i], scalars, zero, config.rule, moves)
        if config.ema_decay is not None:  # L-029
            e = average(es[i], form.applied(x, out[i]), config.ema_decay, zero)
            es[i] = chosen(moves, e, es[i])
            if config.ema_overwrite_every is not None:
                overwrites = (count % config.ema_overwrite_every == 0) & moves
                out[i] = jnp.where(overwrites, stored(es[i], x), out[i])

    def tree(leaves: list[Any], off: bool) -> Any:
        return None if off else treedef.unflatten(leaves)

    state = state._replace(
        count=chosen(due.updates, count, state.count),
        mu=treedef.unflatten(ms),
        grad_sum=tree(state.grad_sum, state.micro is None),
        average=tree(es, state.average is None),
    )
    return treedef.unflatten(out), state
