"""What a step is given and cannot use is refused in one sentence, before anything is computed."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lion_ports import ConfigError
from lion_ports.config import Rule
from lion_ports.jax import averaged_params, fused_lion, lion, scale_by_lion
from lion_ports.jax.arithmetic import opaque_zero
from lion_ports.jax.update import direction

OPTIONS = {
    "average": {"ema_decay": 0.9},
    "micro and no grad_sum and no seen": {"gradient_accumulation_steps": 2},
    "loss_scale and no good_steps": {"loss_scale": "dynamic"},
    "lr_peak": {"weight_decay": 0.1, "decay": "independent"},
}


def stepped(optimizer, params, grads, state, **extra):
    """A step of the fused kind, or an update of the transform."""
    if hasattr(optimizer, "step"):
        return optimizer.step(params, grads, state, **extra)
    return optimizer.update(grads, state, params)


def refused(message, optimizer, *arrays, **extra):
    """Eager and compiled."""
    step = partial(stepped, optimizer, **extra)
    for run in (step, jax.jit(step)):
        with pytest.raises(ConfigError, match=message):
            run(*arrays)


@pytest.mark.parametrize("make", [lion, fused_lion, scale_by_lion])
def test_states_of_another_kind(make, arrays):
    params, optimizer = arrays(1), make()
    states = {
        "tuple": optax.lion(1e-3).init(params),
        "ScaleByAdamState": optax.scale_by_adam().init(params),
        "NoneType": None,
        "dict": {"mu": params},
    }
    for kind, state in states.items():
        message = f"the state is of type {kind}, not the LionState that init"
        refused(message, optimizer, params, params, state)
    refused("gradients and state are swapped", optimizer, params, optimizer.init(params), params)


@pytest.mark.parametrize(("fields", "options"), OPTIONS.items(), ids=OPTIONS)
@pytest.mark.parametrize("make", [lion, fused_lion])
def test_states_of_other_options(make, fields, options, arrays):
    params, plain, optimizer = arrays(1), make(), make(**options)
    lacks = f"^the state has no {fields}, which .* needs; make it with init"
    refused(lacks, optimizer, params, params, plain.init(params))
    kept = fields.replace("no ", "")
    more = f"^the state has {kept}, which is left behind without"
    refused(more, plain, params, params, optimizer.init(params))


def test_what_an_option_left_can_be_dropped_on_purpose(arrays, assert_same):
    params, plain = arrays(1), fused_lion()
    state = fused_lion(gradient_accumulation_steps=2).init(params)
    with pytest.raises(ConfigError) as error:
        plain.step(params, arrays(2), state)
    dropped = eval(re.search(r"state\._replace\(.*\)", str(error.value))[0], {"state": state})
    assert_same(
        plain.step(params, arrays(2), dropped), plain.step(params, arrays(2), plain.init(params))
    )


def test_all_that_is_wrong_with_a_state_is_said_at_once(arrays):
    state = fused_lion(ema_decay=0.5).init(arrays(1))
    refused("^2 problems: ", fused_lion(loss_scale="dynamic"), arrays(1), arrays(1), state)


@pytest.mark.parametrize("make", [lion, fused_lion])
def test_a_state_of_other_parameters(make, arrays):
    params = arrays(1)
    optimizer = make(ema_decay=0.9)
    state = optimizer.init(params)
    for bad, words in (
        (jnp.ones(4), r"float32\[4\]"),
        (jnp.ones(3, jnp.complex64), r"complex64\[3\]"),
        (jnp.ones(3, jnp.int32), r"int32\[3\]"),
        ("b", "'b'"),
        (None, "None"),
    ):
        for field, what in (("mu", "momentum"), ("average", "average")):
            other = state._replace(**{field: {**getattr(state, field), "b": bad}})
            message = f"the {what} of b in the state is {words}, and its parameter"
            with pytest.raises(ConfigError, match=message):
                stepped(optimizer, params, params, other)
    message = "the momentum are no tree like the parameters: they have none of 'b'"
    refused(message, optimizer, params, params, state._replace(mu={"w": params["w"]}))


@pytest.mark.parametrize("make", [lion, fused_lion])
def test_gradients_of_other_parameters(make):
    params, optimizer = {"w": jnp.ones((2, 3)), "b": (jnp.ones(1),)}, make()
    for change, message in (
        ({"w": jnp.ones(3)}, r"the gradient of w is .*its parameter float32\[2, 3"),
        ({"w": jnp.ones((2, 3), jnp.complex64)}, "the gradient of w is complex64"),
        ({"w": "g"}, "the gradient of w is 'g', which is no array"),
        ({"w": {"u": jnp.ones((2, 3))}}, "gradients are no tree .* they have none of 'w'"),
        ({"c": jnp.ones(1)}, "they have one of 'c', which is no parameter"),
        ({"b": [jnp.ones(1)]}, "they are in other containers"),
    ):
        with pytest.raises(ConfigError, match=message):
            stepped(optimizer, params, {**params, **change}, optimizer.init(params))
    state = optimizer.init(params)
    refused("they have none of", optimizer, params, None, state)


@pytest.mark.parametrize("make", [lion, fused_lion])
def test_masks_that_do_not_fit(make, arrays):
    params = arrays(1)
    for mask, message in (
        (lambda params: {"w": 1, "b": 0}, "^mask of b = 0 is neither True nor False; give a tree"),
        (lambda params: jax.tree.map(lambda x: x > 0, params), "^mask of b = .* is neither True"),
        (lambda params: None, "^mask is no tree like the parameters; give a tree"),
        ({"w": True}, "^mask is no tree like the parameters; give a tree"),
    ):
        optimizer = make(weight_decay=0.1, mask=mask)
        refused(message, optimizer, params, params, optimizer.init(params))


def test_bools_of_arrays_are_bools(arrays, assert_same):
    masks = {"w": np.bool_(True), "b": jnp.array(False)}, {"w": True, "b": False}
    first, second = (fused_lion(0.5, weight_decay=0.5, mask=mask) for mask in masks)
    state = first.init(arrays(1))
    step = jax.jit(first.step)(arrays(1), arrays(2), state)
    assert_same(step, jax.jit(second.step)(arrays(1), arrays(2), state))


@pytest.mark.parametrize(
    ("lr", "message"),
    [
        (-1.0, "^lr = -1.0 is not a finite number >= 0"),
        (float("nan"), "^lr = nan is not"),
        (jnp.float32(-1), "^lr = .* is not a finite"),
        ("fast", "^lr = 'fast' is not"),
        (True, "^lr = True is not"),
        ([0.1], "^lr = "),
        (jnp.ones(2), r"^lr has shape \(2,\)"),
        (1j, "^lr = 1j is not"),
        (abs, "^lr is a function, where a number"),
    ],
    ids=str,
)
def test_a_learning_rate_of_a_step(lr, message, arrays):
    optimizer, params = fused_lion(), arrays(1)
    refused(message, optimizer, params, params, optimizer.init(params), lr=lr)


@pytest.mark.parametrize("lr", [jnp.ones(2), jnp.complex64(1)], ids=["shape", "complex"])
def test_a_traced_learning_rate_has_a_shape(lr, arrays):
    optimizer, params = fused_lion(), arrays(1)
    with pytest.raises(ConfigError, match=r"^lr (has shape|is complex)"):
        jax.jit(optimizer.step)(params, params, optimizer.init(params), lr)


@pytest.mark.parametrize("setting", ["learning_rate", "weight_decay"])
@pytest.mark.parametrize("make", [lion, fused_lion])
def test_what_a_schedule_gives(make, setting, arrays):
    params = arrays(1)
    for given, message in (
        (lambda c: -0.5, "= -0.5 is not"),
        (lambda c: jnp.ones(2) * c, "has shape"),
    ):
        optimizer = make(**{setting: given})
        refused(f"^{setting} {message}", optimizer, params, params, optimizer.init(params))
    below = make(**{setting: lambda count: count - 1})  # eager, where there is a number to see
    with pytest.raises(ConfigError, match=f"^{setting} = .* is not a finite"):
        stepped(below, params, params, below.init(params))


def test_a_window_that_was_made_shorter_ends(arrays):
    """L-025: two of four gradients are in the sum when the optimizer goes on with one of two."""
    long, short = (fused_lion(0.5, gradient_accumulation_steps=k) for k in (4, 2))
    params = arrays(1)
    state = long.init(params)
    for _ in range(3):
        params, state = long.step(params, arrays(2), state)
    assert (state.count, state.micro) == (0, 3)
    for due in ((1, 0), (1, 1), (2, 0)):
        params, state = jax.jit(short.step)(params, arrays(2), state)
        assert (state.count, state.micro) == due


def test_directions_of_no_known_name():
    with pytest.raises(ConfigError, match=r"nonlinearity = 'tan' is not one of .*mean 'tanh'"):
        direction(jnp.ones(2), Rule(nonlinearity="tan"), opaque_zero(jnp.array(0)))


def test_averages_that_are_there_can_be_had_without_the_optimizer(arrays, assert_same):
    state = fused_lion(ema_decay=0.9).init(arrays(1))
    assert_same(averaged_params(state, arrays(2)), arrays(1))
