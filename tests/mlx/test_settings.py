"""Settings that are read and assigned on the optimizer."""

import copy
import inspect
import pickle

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lion_ports import ConfigError
from lion_ports.mlx import Lion


def is_bias(path, parameter):
    return path == "bias"


def half(step):
    return 0.5


def ones(dtype=mx.float32):
    return {"weight": mx.ones(2, dtype), "bias": mx.ones(2, dtype)}


def decayed(optimizer, tree=None):
    """What is left of ones after a step with gradients of zero."""
    tree = tree or ones()
    moved = optimizer.apply_gradients({n: mx.zeros_like(x) for n, x in tree.items()}, tree)
    return [moved[name][0].item() for name in ("weight", "bias")]


def test_every_setting_can_be_read():
    given = {"betas": (0.5, 0.75), "weight_decay": 0.25, "clipnorm": 2.0, "ema_decay": 0.5}
    optimizer = Lion(0.5, groups=[{"params": is_bias, "betas": (0.0, 0.0)}], **given)
    usual = {n: p.default for n, p in inspect.signature(Lion).parameters.items()}
    for name, value in {**usual, **given}.items():
        if name not in ("learning_rate", "loss_scale", "groups"):  # arrays, and the made groups
            assert getattr(optimizer, name) == value
    assert (optimizer.learning_rate.item(), optimizer.loss_scale.item()) == (0.5, 1)
    assert [group.betas for group in optimizer.groups] == [(0.0, 0.0), (0.5, 0.75)]
    with pytest.raises(AttributeError, match="'Lion' object has no attribute 'bettas'"):
        optimizer.bettas  # noqa: B018


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in inspect.signature(Lion).parameters
        if n not in ("learning_rate", "weight_decay", "lr_peak")
    ],
)
def test_what_cannot_be_assigned_says_so(name):
    optimizer = Lion(groups=[{"params": is_bias}])
    for one in (optimizer, *optimizer.groups):
        with pytest.raises(ConfigError, match=f"{name} is fixed when the optimizer is made; make"):
            setattr(one, name, getattr(optimizer, name))


def test_lr_is_no_name_for_the_learning_rate():
    with pytest.raises(ConfigError, match="assign learning_rate"):
        Lion().lr = 0.5


def test_an_assigned_weight_decay_is_that_of_the_next_step():
    optimizer = Lion(0.5)
    assert decayed(optimizer) == [1, 1]
    optimizer.weight_decay = 0.5
    assert decayed(optimizer) == [0.75, 0.75]
    optimizer.weight_decay = 0
    assert decayed(optimizer, {n: x * np.inf for n, x in ones().items()}) == [np.inf, np.inf]
    with pytest.raises(ConfigError, match="weight_decay = -1 is not"):
        optimizer.weight_decay = -1


def test_groups_without_a_decay_of_their_own_follow():
    own = [{"params": is_bias, "weight_decay": 0.25}]
    optimizer, other = Lion(0.5, groups=own), Lion(0.5, groups=[{"params": is_bias}])
    for each in (optimizer, other):
        each.weight_decay = 0.5
    assert (decayed(optimizer), decayed(other)) == ([0.75, 0.875], [0.75, 0.75])
    optimizer.groups[0].weight_decay = 1.0
    assert decayed(optimizer) == [0.75, 0.5]
    with pytest.raises(ConfigError, match=r"groups\[0\] has no weight decay of its own"):
        other.groups[0].weight_decay = 0.5


def test_an_assigned_weight_decay_replaces_a_schedule_and_is_a_part_of_the_state():
    optimizer, other = Lion(0.5, weight_decay=half), Lion(0.5, weight_decay=half)
    optimizer.weight_decay = 0.25
    assert decayed(optimizer) == [0.875, 0.875]
    other.state = optimizer.state
    assert decayed(other) == [0.875, 0.875]
    optimizer.state = Lion().state  # which has none: it stays what was assigned
    assert optimizer.weight_decay.item() == 0.25


def test_a_compiled_step_takes_it_with_one_new_trace():
    optimizer, tree, traces = Lion(0.5), {"w": mx.ones(1)}, []
    optimizer.init(tree)

    def step(g):
        traces.append(None)
        return optimizer.apply_gradients({"w": g}, tree)["w"]

    state = [optimizer.state]
    compiled, seen = mx.compile(step, inputs=state, outputs=state), []
    for decay in (None, 0.5, 0.25, 0.125):
        if decay is not None:
            optimizer.weight_decay = decay
        seen.append(compiled(mx.zeros(1)).item())
    assert seen == [1, 0.75, 0.875, 0.9375]
    assert len(traces) == 2
    assert optimizer.step.item() == 4


def test_the_peak_can_be_assigned():
    optimizer = Lion(0.5, weight_decay=0.25, decay="independent")
    optimizer.lr_peak = 1.0
    assert (optimizer.lr_peak.item(), decayed(optimizer)) == (1, [0.875, 0.875])
    with pytest.raises(ConfigError, match="has no effect without decay='independent'"):
        Lion().lr_peak = 0.5


@pytest.mark.parametrize("dtype", [mx.bfloat16, "bfloat16", np.dtype("float32")])
def test_the_momentum_dtype_may_be_a_dtype(dtype):
    optimizer = Lion(momentum_dtype=dtype)
    optimizer.init(ones(mx.float16))
    name = "float32" if isinstance(dtype, np.dtype) else "bfloat16"
    assert optimizer.momentum_dtype == name
    assert optimizer.state["bias"]["m"].dtype == getattr(mx, name)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float64, mx.complex64])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_copy_goes_on_alike(dtype, copied, begun):
    options = {"momentum_dtype": mx.bfloat16, "ema_decay": 0.7, "nonfinite": "skip"}
    groups = [{"params": is_bias, "weight_decay": half}]
    optimizer = Lion(0.1, (0.8, 0.9), 0.3, groups=groups, gradient_accumulation_steps=2, **options)
    x = {n: a * 0.3 for n, a in ones(dtype).items()}
    if begun:
        for _ in range(3):
            x = optimizer.apply_gradients({n: a / 3 for n, a in x.items()}, x)
        optimizer.learning_rate = 0.3
    other = copied(optimizer)
    y = dict(x)
    for _ in range(3):
        gradients = {n: a / 7 for n, a in x.items()}
        x, y = optimizer.apply_gradients(gradients, x), other.apply_gradients(gradients, y)
    wanted, found = (dict(tree_flatten([t, o.state])) for t, o in ((x, optimizer), (y, other)))
    assert wanted.keys() == found.keys()
    for path, leaf in wanted.items():
        assert leaf.dtype == found[path].dtype, path
        assert mx.array_equal(leaf, found[path]), path


def test_a_copy_is_another_optimizer():
    optimizer = Lion(0.5)
    other = copy.deepcopy(optimizer)
    other.learning_rate, other.weight_decay = 0.25, 0.5
    other.apply_gradients(ones(), ones())
    assert (optimizer.learning_rate.item(), optimizer.weight_decay) == (0.5, 0.0)
    assert "bias" not in optimizer.state
    assert isinstance(copy.deepcopy(optim.MultiOptimizer([other])).optimizers[0], Lion)
