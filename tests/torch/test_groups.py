"""Settings that change in a group after it was made: checked before anything moves (L-020)."""

import copy
import io

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports import ConfigError, DtypeError, NonFiniteError  # noqa: E402
from lion_ports.config import Rule, Scalars  # noqa: E402
from lion_ports.torch import Lion, lion_update_  # noqa: E402


def parts(optimizer):
    """All that a step may change."""
    params = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
    return params, copy.deepcopy(optimizer.state_dict())


def refused(optimizer, words, error=ConfigError, do=None):
    """The error of a step, which has changed nothing."""
    before = parts(optimizer)
    with pytest.raises(error, match=words):
        (do or optimizer.step)()
    assert repr(parts(optimizer)) == repr(before)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"lr": -1}, "lr = -1 is not"),
        ({"lr": "0.1"}, "lr = '0.1' is not"),
        ({"lr": None}, "lr = None is not"),
        ({"lr": abs}, "lr = .* is a function in a group"),
        ({"lr": torch.tensor(-1.0)}, "lr = tensor"),
        ({"lr": torch.tensor([1.0, 2.0])}, "lr has shape"),
        ({"weight_decay": float("nan")}, "weight_decay = nan"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\] = 1.0"),
        ({"betas": 0.9}, "betas = 0.9 is not a pair"),
        ({"nonlinearity": "tan"}, "did you mean 'tanh'"),
        ({"cautious": 3}, "cautious = 3"),
        ({"momentum_dtype": "float16"}, "momentum_dtype = 'float16'"),
        ({"decay": "independent"}, "needs lr_peak"),
        ({"lr_peak": 0.5}, "lr_peak = 0.5 has no effect"),
        ({"nonfinite": "skip"}, "nonfinite is a setting of the optimizer"),
        ({"global_clipnorm": 1.0}, "global_clipnorm is a setting of the optimizer"),
        ({"weight_decy": 1.0}, "did you mean 'weight_decay'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("begun", [False, True])
def test_a_wrong_value_is_refused_and_moves_nothing(setting, words, begun, parameter):
    p = parameter(1.0)
    optimizer = Lion([{"params": [parameter(1.0)]}, {"params": [p]}])
    if begun:
        optimizer.step()
    group = optimizer.param_groups[1]
    kept = dict(group)
    group |= setting
    refused(optimizer, words)
    refused(optimizer, words, do=lambda: optimizer.update_parameter(p, 1))
    group.clear()
    group |= kept
    optimizer.step()
    assert group["count"] == 1 + begun


@pytest.mark.parametrize(
    ("setting", "after"),
    [
        ({"lr": 0.5}, 0.5),
        ({"lr": np.float32(0.5)}, 0.5),
        ({"lr": torch.tensor(0.5)}, 0.5),
        ({"lr": 0.5, "weight_decay": 1.0}, 0.0),
        ({"lr": 0.5, "nonlinearity": "tanh", "steepness": 1e4}, 0.5),
        ({"lr": 0.5, "maximize": True}, 1.5),
        ({"lr": 0.5, "weight_decay": 0.25, "decay": "independent", "lr_peak": 0.5}, 0.25),
    ],
    ids=str,
)
def test_a_right_value_holds(setting, after, parameter):
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.25)
    optimizer.param_groups[0] |= setting
    optimizer.step()
    assert p.item() == after


def test_a_tensor_that_becomes_negative_is_seen(parameter):
    rate = torch.tensor(0.5)
    optimizer = Lion([parameter(1.0)], lr=rate)
    optimizer.step()
    rate.fill_(-0.5)
    refused(optimizer, "lr = tensor")


def test_what_was_checked_is_not_checked_again(parameter, monkeypatch):
    optimizer = Lion([parameter(1.0)], lr=lambda step: 0.5**step)
    optimizer.step()
    monkeypatch.setattr("lion_ports.torch.groups.LionConfig", None)
    for rate in (0.5, 0.25):
        optimizer.step()
        optimizer.param_groups[0]["lr"] = rate


def test_a_step_that_raises_counts_nothing(parameter):
    def start(**settings):
        return Lion([parameter(1.0), parameter(2.0)], **settings)

    optimizer = start(lr=lambda step: 0.5, weight_decay=lambda step: -1.0 * step, loss_scale=2.0)
    optimizer.step()
    refused(optimizer, "weight_decay = -1")
    optimizer = start(gradient_accumulation_steps=2, nonfinite="raise")
    optimizer.step()
    last = optimizer.param_groups[0]["params"][1]
    last.grad = torch.tensor([float("nan")])
    refused(optimizer, "parameter 1 of group 0", NonFiniteError)
    last.grad = torch.ones(1).to_sparse()
    refused(optimizer, "sparse", DtypeError)


def test_a_schedule_that_gives_something_wrong_at_first_leaves_no_state(parameter):
    p = parameter(1.0)
    optimizer = Lion([parameter(1.0), p], lr=lambda step: 0.5)
    optimizer._watches[0].schedules["lr"] = lambda step: float("nan")
    refused(optimizer, "lr = nan")
    assert not optimizer.state


def test_an_unknown_direction_is_no_other_one():
    x, g, m = torch.ones(2), torch.ones(2), torch.zeros(2)
    with pytest.raises(ConfigError, match="nonlinearity = 'swish' is not one of"):
        lion_update_(x, g, m, Scalars(0.5, 0.9, 0.99, 0.0), Rule(nonlinearity="swish"))
    assert x.tolist() == [1, 1]


NUMPY = {
    "lr": np.float64(0.5),
    "betas": (np.float64(0.5), np.float32(0.75)),
    "weight_decay": np.array(0.5),
    "maximize": np.True_,
    "cautious": np.True_,
    "cautious_cap": np.float64(4),
    "clipnorm": np.float64(1),
    "ema_decay": np.float64(0.5),
    "ema_overwrite_every": np.int64(2),
}


@pytest.mark.parametrize(
    "settings",
    [
        NUMPY,
        {"lr": lambda step: np.float64(0.5), "weight_decay": lambda step: np.float32(step)},
        {"decay": "independent", "lr_peak": np.float64(0.5), "momentum_dtype": "bfloat16"},
    ],
    ids=["settings", "schedules", "peak"],
)
def test_settings_of_numpy_are_saved_as_plain_numbers(settings, parameter):
    optimizer = Lion([parameter(1.0)], **settings)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = np.float64(0.125)
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert saved["param_groups"] == optimizer.state_dict()["param_groups"]


def test_names_that_schedulers_use_are_theirs(parameter):
    optimizer = Lion([parameter(1.0)], lr=0.25)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=4)
    optimizer.step()
    torch.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 0.5)
    torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.1)
    optimizer.step()
    Lion([{"params": [parameter(1.0)], "max_lr": 0.5, "initial_lr": 0.1}])


@pytest.mark.parametrize("name", ["step", "update_parameter"])
def test_a_step_of_averaged_parameters_would_be_lost(name, parameter):
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5, ema_decay=0.5)
    optimizer.step()
    do = {"step": optimizer.step, "update_parameter": lambda: optimizer.update_parameter(p, 0)}
    with optimizer.averaged():
        refused(optimizer, "inside `with optimizer.averaged", do=do[name])
    assert p.item() == 0.5
    do[name]()
    assert p.item() == 0.0


@pytest.mark.parametrize(
    ("name", "ours"),
    [("learning_rate", "lr"), ("wd", "weight_decay"), ("beta1", "betas"), ("mu_dtype", "momentum")],
)
def test_other_names_of_settings_are_answered_with_ours(name, ours, parameter):
    with pytest.raises(ConfigError, match=f"{name}'; did you mean '{ours}"):
        Lion([{"params": [parameter(1.0)], name: 0.5}])
    optimizer = Lion([parameter(1.0)])
    optimizer.param_groups[0][name] = 0.5
    refused(optimizer, f"{name}'; did you mean '{ours}")


@pytest.mark.parametrize("of_group", [False, True])
def test_a_momentum_dtype_of_torch_is_held_by_its_name(of_group, parameter):
    p, dtype = parameter(1.0), {"momentum_dtype": torch.bfloat16}
    optimizer = Lion([{"params": [p], **dtype}]) if of_group else Lion([p], **dtype)
    optimizer.step()
    assert optimizer.param_groups[0]["momentum_dtype"] == "bfloat16"
    assert optimizer.state[p]["exp_avg"].dtype == torch.bfloat16
