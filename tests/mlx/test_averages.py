"""Averaged parameters."""

import copy

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten, tree_map

from lion_ports import ConfigError
from lion_ports.mlx import Lion


def trained(**options):
    """A model whose weights went from 1 to 0.5, and its optimizer."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model.update(tree_map(lambda x: mx.ones(x.shape, mx.bfloat16), model.parameters()))
    optimizer = Lion(0.5, ema_decay=0.75, **options)
    optimizer.update(model, tree_map(mx.ones_like, model.parameters()))
    return model, optimizer


def test_the_averages_come_in_the_dtype_of_the_parameters():
    model, optimizer = trained()
    averages = optimizer.averaged_parameters(model.parameters())
    assert [x.dtype for _, x in tree_flatten(averages)] == [mx.bfloat16] * 4
    assert averages["layers"][0]["weight"].tolist() == [[0.875] * 2] * 2
    assert optimizer.state["layers"][0]["weight"]["average"].dtype == mx.float32


def test_averages_are_swapped_in_and_out():
    model, optimizer = trained()
    with optimizer.averaged(model) as same:
        assert same is model
        assert model.layers[1].bias.item() == 0.875
    assert model.layers[1].bias.item() == 0.5


def test_an_update_inside_would_be_lost_and_is_refused():
    model, optimizer = trained()
    gradients = tree_map(mx.ones_like, model.parameters())
    with (
        pytest.raises(ConfigError, match=r"an update inside .* is lost"),
        optimizer.averaged(model),
    ):
        optimizer.update(model, gradients)
    assert model.layers[1].bias.item() == 0.5
    assert optimizer.step.item() == 1
    with optimizer.averaged(model):
        saved = copy.deepcopy(optimizer)
    saved.apply_gradients(gradients, model)
    optimizer.update(model, gradients)
    assert model.layers[1].bias.item() == 0


def test_a_compiled_update_inside_is_found_at_the_end():
    model, optimizer = trained()
    state = [model.state, optimizer.state]
    step = mx.compile(lambda g: optimizer.update(model, g), inputs=state, outputs=state)
    gradients = tree_map(mx.ones_like, model.parameters())
    step(gradients)
    with (
        pytest.raises(ConfigError, match=r"an update inside .* is lost"),
        optimizer.averaged(model),
    ):
        step(gradients)
    assert model.layers[1].bias.item() == 0


def test_they_are_swapped_out_after_an_error_too():
    model, optimizer = trained()
    with pytest.raises(KeyError), optimizer.averaged(model):
        raise KeyError
    assert model.layers[1].bias.item() == 0.5


def test_what_is_not_trained_is_left_as_it_is():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model.layers[0].freeze()
    optimizer = Lion(0.5, ema_decay=0.75)
    optimizer.init(model.trainable_parameters())
    frozen = model.layers[0].weight
    averages = optimizer.averaged_parameters(model.parameters())
    assert averages["layers"][0]["weight"] is frozen
    with optimizer.averaged(model):
        assert model.layers[0].weight is frozen


def test_the_averages_overwrite_the_parameters_in_turn():
    optimizer, x, seen = Lion(0.5, ema_decay=0.5, ema_overwrite_every=2), {"w": mx.ones(1)}, []
    for _ in range(4):
        x = optimizer.apply_gradients({"w": mx.ones(1)}, x)
        seen.append(x["w"].item())
    assert seen == [0.5, 0.375, -0.125, -0.25]


def test_without_ema_decay_there_are_none():
    model = nn.Linear(1, 1)
    with pytest.raises(ConfigError, match="no averages without ema_decay"), Lion().averaged(model):
        pass
