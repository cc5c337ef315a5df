"""The state as a tree that goes through a file."""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from lion_ports.mlx import Lion

OPTIONS = {
    "plain": {},
    "schedule": {"learning_rate": optim.step_decay(0.5, 0.5, 2)},
    "everything": {
        "weight_decay": 0.25,
        "decay": "independent",
        "lr_peak": 0.5,
        "momentum_dtype": "bfloat16",
        "cautious": True,
        "gradient_accumulation_steps": 3,
        "ema_decay": 0.75,
        "ema_overwrite_every": 2,
        "loss_scale": "dynamic",
        "loss_scale_growth_interval": 2,
        "groups": [{"params": lambda path, x: path.endswith("bias"), "learning_rate": 0.125}],
    },
}


def model():
    mx.random.seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU())


def gradients(seed):
    mx.random.seed(seed)
    return tree_map(lambda x: mx.random.normal(x.shape), model().trainable_parameters())


def saved_and_loaded(tree, path):
    mx.save_safetensors(str(path), dict(tree_flatten(tree)))
    return tree_unflatten(list(mx.load(str(path)).items()))


@pytest.mark.parametrize("option", OPTIONS)
def test_a_run_goes_on_from_safetensors(option, tmp_path):
    first, optimizer = model(), Lion(**{"learning_rate": 0.5, **OPTIONS[option]})
    for seed in range(4):
        optimizer.update(first, gradients(seed))
    optimizer.groups[0].learning_rate = 0.25  # which the fresh one does not know
    second, other = model(), Lion(**{"learning_rate": 0.5, **OPTIONS[option]})
    second.update(saved_and_loaded(first.parameters(), tmp_path / "model.safetensors"))
    other.state = saved_and_loaded(optimizer.state, tmp_path / "optimizer.safetensors")
    for seed in range(4, 12):
        optimizer.update(first, gradients(seed))
        other.update(second, gradients(seed))
    assert optimizer.step.item() > 1
    wanted = dict(tree_flatten([first.parameters(), optimizer.state]))
    found = dict(tree_flatten([second.parameters(), other.state]))
    assert wanted.keys() == found.keys()
    for path, leaf in wanted.items():
        assert leaf.dtype == found[path].dtype
        assert mx.array_equal(leaf, found[path])


def test_the_state_of_mlx_s_own_lion_serves_as_well():
    theirs, x = optim.Lion(0.25), {"w": mx.ones(2)}
    x = theirs.apply_gradients({"w": mx.array([1.0, -1.0])}, x)
    ours = Lion(0.5, ema_decay=0.5, nonfinite="skip")
    ours.state = theirs.state
    small = {"w": mx.array([-0.05, 0.05])}
    a, b = theirs.apply_gradients(small, x), ours.apply_gradients(small, x)
    assert a["w"].tolist() == b["w"].tolist() == [0.5, 1.5]


def test_a_plain_state_has_the_form_of_mlx_s_own_lion():
    trees = []
    for optimizer in (optim.Lion(0.25), Lion(0.25)):
        optimizer.init(model().trainable_parameters())
        trees.append([(path, x.shape, x.dtype) for path, x in tree_flatten(optimizer.state)])
    assert trees[0] == trees[1]
