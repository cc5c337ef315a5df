"""A step of a whole tree of parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from lion_ports.config import LionConfig, Rule, Scalars
from lion_ports.jax.arithmetic import chosen, opaque_zero
from lion_ports.jax.gradients import effective_gradients
from lion_ports.jax.inputs import Parameters, check_state, decaying, scheduled
from lion_ports.jax.lion_state import LionState, stored
from lion_ports.jax.storage import load_momentum, load_parameter, store_momentum, store_parameter
from lion_ports.jax.tracing import traced_once
from lion_ports.jax.update import average, lion_move, lion_step, moved, ordered, unmoved


class Form(NamedTuple):
    """What a step returns for each parameter, how the new parameter is had from that, and whether
    the new momentum has to be computed after it."""

    update: Callable[..., tuple[Array, Array]]
    stays: Callable[[Array], Array]
    applied: Callable[[Array, Array], Array]
    ordered: Callable[[Array, Array, Array], Array]


IN_PLACE = Form(lion_step, stays=lambda x: x, applied=lambda x, new: new, ordered=ordered)
AS_TRANSFORM = Form(lion_move, stays=unmoved, applied=moved, ordered=lambda m, move, zero: m)

# The fields of a state that are trees like the parameters.
_TREES = ("mu", "mu_scale", "correction", "grad_sum", "average")


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
    given, state = state, _in_lists(state, flat, config)
    ms, ss, cs, es = state.mu, state.mu_scale, state.correction, state.average

    if lr is None:
        lr = scheduled("learning_rate", config.lr, state.count)  # L-015
    lr = jnp.asarray(lr)  # no number, of which each would be traced anew
    wd = scheduled("weight_decay", config.weight_decay, state.count)
    decays = decaying(mask, params)
    before, count = state.count, optax.safe_increment(state.count)
    zero = opaque_zero(count)

    due, state = effective_gradients(flat.leaves, gs, flat.names, state, config, zero)
    out = [form.stays(x) for x in flat.leaves]
    for i, (x, g, moves) in enumerate(zip(flat.leaves, due.grads, due.moves, strict=True)):
        if g is None:  # L-003
            continue
        scalars = config.scalars(lr, wd, state.lr_peak, decays=decays[i])
        rest = scalars, config.rule, before, zero, moves
        out[i], ms[i], ss[i], cs[i] = traced_once(_updated, form, x, g, ms[i], ss[i], cs[i], *rest)
        if config.ema_decay is None:  # L-029
            continue
        new = load_parameter(form.applied(x, out[i]), cs[i])
        es[i] = chosen(moves, average(es[i], new, config.ema_decay, zero), es[i])
        if config.ema_overwrite_every is not None:
            overwrites = (count % config.ema_overwrite_every == 0) & moves
            new = es[i] if cs[i] is not None else jnp.where(overwrites, stored(es[i], x), out[i])
            out[i], cs[i] = store_parameter(new, out[i], cs[i], before, zero, overwrites)

    new_count = chosen(due.updates, count, before)
    state = state._replace(count=new_count, mu=ms, mu_scale=ss, correction=cs, average=es)
    return flat.tree(out), _in_trees(state, flat, given)


def _updated(
    form: Form,
    x: Array,
    g: Array,
    m: Array,
    scale: Array | None,
    correction: Array | None,
    scalars: Scalars,
    rule: Rule,
    count: Array,
    zero: Array,
    moves: Any,
) -> tuple[Array, Array, Array | None, Array | None]:
    """One parameter as ``form`` has it, its momentum with scales, and its correction."""
    whole, old = load_parameter(x, correction), load_momentum(m, scale)
    new, new_m = form.update(whole, g, old, scalars, zero, rule, moves)
    new_x, correction = store_parameter(new, x, correction, count, zero, moves)
    new_m = form.ordered(new_m, new_x, zero)
    return new_x, *store_momentum(new_m, m, scale, count, moves), correction


def _in_lists(state: LionState, flat: Parameters, config: LionConfig) -> LionState:
    """The state with its trees as lists, in the order of the parameters; None for one without."""
    nones = [None] * len(flat.leaves)
    momentum, scales = flat.momentum(state.mu, state.mu_scale)
    sums, averages = state.grad_sum, state.average
    return state._replace(
        mu=momentum,
        mu_scale=scales,
        correction=flat.corrections(state.correction, config),
        grad_sum=nones if sums is None else flat.kept("gradient sum", sums),
        average=nones if averages is None else flat.kept("average", averages),
    )


def _in_trees(state: LionState, flat: Parameters, like: LionState) -> LionState:
    """The state with its lists as trees again, where it was ``like`` that."""
    trees: dict[str, Any] = {
        field: None if getattr(like, field) is None else flat.tree(getattr(state, field))
        for field in _TREES
    }
    return state._replace(**trees)
