"""Parameter groups by predicate."""

import mlx.core as mx
import mlx.optimizers as optim
import pytest

from lion_ports import ConfigError
from lion_ports.mlx import Lion


def is_bias(path, parameter):
    return path.endswith("bias")


def parameters():
    return {"layers": [{"weight": mx.ones((2, 2)), "bias": mx.ones(2)}], "norm": mx.ones(2)}


def gradients(value=1.0):
    return {
        "layers": [{"weight": mx.full((2, 2), value), "bias": mx.full(2, value)}],
        "norm": mx.full(2, value),
    }


def values(tree):
    """One element each of the weight, the bias and the norm."""
    layer = tree["layers"][0]
    return [x.reshape(-1)[0].item() for x in (layer["weight"], layer["bias"], tree["norm"])]


def test_a_group_has_its_own_rate_and_decay_and_the_rest_the_optimizers():
    optimizer = Lion(
        0.5,
        weight_decay=0.5,
        groups=[{"params": is_bias, "learning_rate": 0.25, "weight_decay": 0.0}],
    )
    assert values(optimizer.apply_gradients(gradients(), parameters())) == [0.25, 0.75, 0.25]


def test_the_first_predicate_that_says_yes_decides():
    groups = [
        {"params": lambda path, x: path == "layers.0.bias", "learning_rate": 0.125},
        {"params": lambda path, x: x.ndim < 2, "learning_rate": 0.25},
    ]
    optimizer = Lion(0.5, groups=groups)
    assert values(optimizer.apply_gradients(gradients(), parameters())) == [0.5, 0.875, 0.75]


@pytest.mark.parametrize(
    ("own", "weight", "bias"),
    [
        ({"maximize": True}, 0.5, 1.5),
        ({"betas": (0.0, 0.0)}, 0.5, 0.5),
        ({"nonlinearity": "clip", "steepness": 5.0}, 0.5, 0.75),
        ({"cautious": True, "cautious_cap": 1.0}, 0.5, 1 - 0.5 * 2 / 3),
        ({"weight_decay": 0.5, "cautious_decay": True}, 0.5, 0.25),
        ({"weight_decay": 0.25, "decay": "independent", "lr_peak": 1.0}, 0.5, 0.375),
        ({"weight_decay": lambda step: 0.5}, 0.5, 0.25),
        ({"learning_rate": lambda step: 0.125}, 0.5, 0.875),
    ],
)
def test_what_a_group_may_have_for_itself(own, weight, bias):
    optimizer = Lion(0.5, groups=[{"params": is_bias, **own}])
    moved = values(optimizer.apply_gradients(gradients(), parameters()))
    assert moved[:2] == [pytest.approx(weight), pytest.approx(bias)]


def test_a_group_may_store_its_momentum_in_another_dtype():
    optimizer = Lion(groups=[{"params": is_bias, "momentum_dtype": "bfloat16"}])
    optimizer.init(parameters())
    layer = optimizer.state["layers"][0]
    assert (layer["weight"]["m"].dtype, layer["bias"]["m"].dtype) == (mx.float32, mx.bfloat16)


def test_group_rates_are_in_the_state_and_can_be_assigned():
    groups = [
        {"params": is_bias, "learning_rate": optim.step_decay(0.5, 0.5, 1)},
        {"params": lambda path, x: path == "norm", "learning_rate": 0.25},
    ]
    optimizer = Lion(1.0, groups=groups)
    moved = optimizer.apply_gradients(gradients(), parameters())
    optimizer.learning_rate = 0.0
    optimizer.groups[1].learning_rate = 0.125
    moved = optimizer.apply_gradients(gradients(), moved)
    assert values(moved) == [0.0, 1 - 0.5 - 0.25, 1 - 0.25 - 0.125]
    assert optimizer.state["lion"]["learning_rate:1"].item() == 0.125


def test_group_rates_take_no_new_trace():
    optimizer = Lion(1.0, groups=[{"params": is_bias, "learning_rate": 0.5}])
    tree, traces = parameters(), []
    optimizer.init(tree)

    def step(gradients, tree):
        traces.append(None)
        return optimizer.apply_gradients(gradients, tree)

    compiled = mx.compile(step, inputs=optimizer.state, outputs=optimizer.state)
    for rate in (0.5, 0.25, 0.125):
        optimizer.groups[0].learning_rate = rate
        tree = compiled(gradients(), tree)
    assert values(tree)[1] == 1 - 0.5 - 0.25 - 0.125
    assert len(traces) == 1


def test_each_group_has_its_own_peak():
    settings = {"decay": "independent", "weight_decay": 0.25}
    optimizer = Lion(0.5, **settings, groups=[{"params": is_bias, "learning_rate": 0.25}])
    assert [group.lr_peak.item() for group in optimizer.groups] == [0.25, 0.5]
    optimizer.learning_rate = optimizer.groups[0].learning_rate = 0.125
    moved = values(optimizer.apply_gradients(gradients(0.0), parameters()))
    assert moved[:2] == [1 - 0.125 * 0.5, 1 - 0.125 * 1.0]


def test_what_a_group_switches_off_takes_its_settings_along():
    settings = {"cautious": True, "cautious_cap": 2.0, "decay": "independent", "lr_peak": 1.0}
    off = {"params": is_bias, "cautious": False, "decay": "coupled"}
    group = Lion(0.5, **settings, groups=[off]).groups[0]
    assert group.lr_peak is None
    assert not group.config.cautious


def test_groups_may_be_used_with_a_mask():
    optimizer = Lion(
        0.5,
        weight_decay=0.5,
        mask=lambda path, x: x.ndim > 1,
        groups=[{"params": is_bias, "learning_rate": 0.25}],
    )
    assert values(optimizer.apply_gradients(gradients(), parameters())) == [0.25, 0.75, 0.5]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"params": is_bias, "weight_decy": 0}, "'weight_decy'; did you mean 'weight_decay'"),
        ({"params": is_bias, "lr": 0.1}, "unknown setting 'lr'; did you mean 'learning_rate'"),
        ({"params": is_bias, "ema_decay": 0.9}, "ema_decay is a setting of the optimizer, not of"),
        ({"params": is_bias, "mask": is_bias}, "mask is a setting of the optimizer, not of"),
        ({"params": is_bias, "weight_decay": -1}, r"groups\[0\]: weight_decay = -1 is not"),
        ({"params": is_bias, "cautious_cap": 2.0}, "cautious_cap = 2.0 has no effect without"),
        ({"weight_decay": 0.0}, r"params = None is not a function \(path, parameter\) -> bool"),
        ({"params": "bias"}, "params = 'bias' is not a function"),
        ("bias", r"groups\[0\]: 'bias' is not a dictionary"),
    ],
)
def test_bad_groups_are_refused(group, message):
    with pytest.raises(ConfigError, match=message):
        Lion(groups=[group])


def test_all_problems_are_in_one_error():
    with pytest.raises(ConfigError) as error:
        Lion(-1, groups=[{"params": is_bias, "betas": (1, 0)}, {"weight_decy": 0.1}])
    assert [problem.partition(" =")[0] for problem in error.value.problems] == [
        "groups[1]: unknown setting 'weight_decy'; did you mean 'weight_decay'?",
        "groups[1]: params",
        "learning_rate",
        "groups[0]: betas[0]",
    ]


def test_a_group_without_a_rate_of_its_own_follows_and_says_so():
    optimizer = Lion(0.5, groups=[{"params": is_bias, "weight_decay": 0.0}])
    optimizer.learning_rate = 0.25
    assert optimizer.groups[0].learning_rate.item() == 0.25
    with pytest.raises(ConfigError, match=r"groups\[0\] has no learning rate of its own"):
        optimizer.groups[0].learning_rate = 0.5
