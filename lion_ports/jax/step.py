"""A step of a whole tree of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from lion_ports.config import LionConfig
from lion_ports.jax.arithmetic import chosen, opaque_zero
from lion_ports.jax.gradients import effective_gradients
from lion_ports.jax.inputs import Parameters, check_state, decaying, scheduled
from lion_ports.jax.lion_state import LionState, stored
from lion_ports.jax.update import average, lion_move, lion_update, moved, unmoved


class Form(NamedTuple):
    """What a step returns for each parameter, and how the new parameter is had from that."""

    update: Callable[..., tuple[Array, Array]]
    stays: Callable[[Array], Array]
    applied: Callable[[Array, Array], Array]


IN_PLACE = Form(lion_update, stays=lambda x: x, applied=lambda x, new: new)
AS_TRANSFORM = Form(lion_move, stays=unmoved, applied=moved)

# The fields of a state that are trees like the parameters, and what is said of their leaves.
_TREES = {"mu": "momentum", "grad_sum": "gradient sum", "average": "average"}


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
        ConfigError: state, gradients or mask do not go with the parameters or the settings, or a
            schedule gives what is no learning rate or weight decay.
        NonFiniteError: under ``nonfinite="raise"`` (L-019).
    """
    check_state(state, grads, config)
    flat = Parameters.of(params)
    gs = flat.beside("gradients", grads)
    state = _in_lists(state, flat)
    ms, es = state.mu, state.average

    if lr is None:
        lr = scheduled("learning_rate", config.lr, state.count)  # L-015
    wd = scheduled("weight_decay", config.weight_decay, state.count)
    decays = decaying(mask, params)
    count = optax.safe_increment(state.count)
    zero = opaque_zero(count)

    due, state = effective_gradients(flat.leaves, gs, flat.names, state, config, zero)
    out = [form.stays(x) for x in flat.leaves]
    for i, (x, g, moves) in enumerate(zip(flat.leaves, due.grads, due.moves, strict=True)):
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

    state = state._replace(count=chosen(due.updates, count, state.count), mu=ms, average=es)
    return flat.tree(out), _in_trees(state, flat)


def _in_lists(state: LionState, flat: Parameters) -> LionState:
    """The state with its trees as lists, in the order of the parameters."""
    lists: dict[str, Any] = {
        field: flat.kept(what, tree)
        for field, what in _TREES.items()
        if (tree := getattr(state, field)) is not None
    }
    return state._replace(**lists)


def _in_trees(state: LionState, flat: Parameters) -> LionState:
    """The state with its lists as trees again."""
    trees: dict[str, Any] = {
        field: flat.tree(leaves)
        for field in _TREES
        if (leaves := getattr(state, field)) is not None
    }
    return state._replace(**trees)
