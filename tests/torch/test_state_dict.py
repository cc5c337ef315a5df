"""Saving, loading and copying the optimizer."""

import copy
import io
import pickle

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports import ConfigError, StateError  # noqa: E402
from lion_ports.torch import Lion  # noqa: E402

OPTIONS = {
    "schedule": {"lr": lambda step: 0.5**step, "weight_decay": lambda step: 0.5 * step},
    "independent": {"decay": "independent", "weight_decay": 0.25, "lr": 0.5},
    "momentum": {"momentum_dtype": "float32"},
    "accumulation": {"gradient_accumulation_steps": 2},
    "average": {"ema_decay": 0.9, "ema_overwrite_every": 3},
    "dynamic": {"loss_scale": "dynamic", "loss_scale_growth_interval": 4},
}


def start(settings):
    p = torch.nn.Parameter(torch.linspace(-1, 1, 7).to(torch.bfloat16))
    return p, Lion([p], **{"lr": 0.01} | settings)


def train(p, optimizer, seeds):
    for seed in seeds:
        p.grad = torch.randn(7, generator=torch.Generator().manual_seed(seed)).to(p.dtype)
        optimizer.step()


@pytest.mark.parametrize("settings", OPTIONS.values(), ids=OPTIONS)
def test_a_run_that_is_resumed_goes_on_with_the_same_bits(settings, bits, tmp_path):
    p, optimizer = start(settings)
    train(p, optimizer, range(3))
    torch.save({"p": p, "optimizer": optimizer.state_dict()}, tmp_path / "saved.pt")
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    q, resumed = start(settings)
    with torch.no_grad():
        q.copy_(saved["p"])
    resumed.load_state_dict(saved["optimizer"])
    for one, way in ((p, optimizer), (q, resumed)):
        train(one, way, range(3, 6))
    assert bits(q) == bits(p)
    assert bits(resumed.state_dict()) == bits(optimizer.state_dict())


def test_loading_takes_a_copy(bits):
    p, optimizer = start({})
    train(p, optimizer, [0])
    state = optimizer.state_dict()
    before = bits(state)
    q, other = start({})
    other.load_state_dict(state)
    train(q, other, [1])
    assert bits(state) == before


def test_independent_decay_remembers_its_peak_in_the_state(parameter):
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5, weight_decay=0.25, decay="independent")
    state = optimizer.state_dict()
    other = Lion([parameter(1.0)], lr=0.125, weight_decay=0.25, decay="independent")
    other.load_state_dict(state)
    assert other.param_groups[0]["lr_peak"] == 0.5


def test_a_float32_momentum_on_bfloat16_parameters_survives_saving(parameter):
    p = parameter(1.0, 2.0, dtype=torch.bfloat16)
    optimizer = Lion([p], momentum_dtype="float32")
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = Lion([p], momentum_dtype="float32")
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.state[p]["exp_avg"].dtype == torch.float32
    assert torch.equal(other.state[p]["exp_avg"], optimizer.state[p]["exp_avg"])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_go_on_alike(duplicate, parameter):
    optimizer = Lion([parameter(1.0)], lr=0.5)
    optimizer.step()
    other = duplicate(optimizer)
    (p,) = other.param_groups[0]["params"]
    p.grad = torch.ones_like(p)
    other.step()
    optimizer.step()
    assert torch.equal(p, optimizer.param_groups[0]["params"][0])


def test_a_state_of_another_lion_is_completed(parameter):
    p = parameter(1.0)
    group = {"lr": 0.25, "betas": (0.9, 0.99), "weight_decay": 0.0, "params": [0]}
    other = {"state": {0: {"exp_avg": torch.tensor([-1.0])}}, "param_groups": [group]}
    optimizer = Lion([p], lr=0.5)
    optimizer.load_state_dict(other)
    optimizer.step()
    assert p.item() == 1.25


def test_hooks_see_and_change_the_state_that_is_loaded(parameter):
    p = parameter(1.0)
    optimizer = Lion([p])
    optimizer.step()
    saved = optimizer.state_dict()

    def cleared(optimizer, state):
        return state | {"state": {0: {"exp_avg": torch.zeros(1)}}}

    optimizer.register_load_state_dict_pre_hook(cleared)
    optimizer.load_state_dict(saved)
    assert optimizer.state[p]["exp_avg"].item() == 0


def refused(error, words, optimizer, state, bits):
    """The error, and that nothing has changed."""
    before = bits(optimizer.state_dict())
    with pytest.raises(error, match=words):
        optimizer.load_state_dict(state)
    assert bits(optimizer.state_dict()) == before


OTHERS = {
    "AdamW": (torch.optim.AdamW, "exp_avg_sq"),
    "Adamax": (torch.optim.Adamax, "exp_inf"),
    "SGD": (lambda params: torch.optim.SGD(params, momentum=0.9), "momentum_buffer"),
    "plain SGD": (torch.optim.SGD, "momentum_buffer|no betas"),
    "Adagrad": (torch.optim.Adagrad, "sum"),
}


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", OTHERS)
def test_states_of_other_optimizers_are_refused(name, begun, parameter, bits):
    make, words = OTHERS[name]
    p = parameter(1.0)
    other, optimizer = make([p]), Lion([p])
    if begun:
        other.step()
    optimizer.step()
    words = words if begun or name == "Adagrad" else "no betas|an eps"
    words = f"not that of a Lion, .*({words})"
    refused(StateError, words, optimizer, other.state_dict(), bits)


@pytest.mark.parametrize(
    ("slot", "called"),
    [("exp_avg", "momentum"), ("average", "average"), ("grad_sum", "sum of gradients")],
)
def test_what_has_another_shape_is_refused(slot, called, parameter, bits):
    settings = {"ema_decay": 0.5, "gradient_accumulation_steps": 2}
    other = Lion([parameter(1.0)], **settings)
    other.step()
    saved = other.state_dict()
    saved["state"][0][slot] = torch.ones(2)
    words = (
        rf"the {called} of parameter 0 was saved with shape \(2,\), and the parameter has \(1,\)"
    )
    refused(StateError, words, Lion([parameter(1.0)], **settings), saved, bits)


def test_a_sum_that_was_not_saved_is_missed(parameter, bits):
    other = Lion([parameter(1.0)], gradient_accumulation_steps=2)
    other.step()
    saved = other.state_dict()
    del saved["state"][0]["grad_sum"]
    fresh = Lion([parameter(1.0)], gradient_accumulation_steps=2)
    refused(StateError, "in the middle of an update, without the sum", fresh, saved, bits)


def test_a_dynamic_loss_scale_is_left_where_there_is_none(parameter):
    other = Lion([parameter(1.0)], loss_scale="dynamic")
    optimizer = Lion([parameter(1.0)])
    optimizer.load_state_dict(other.state_dict())
    assert "loss_scale" not in optimizer.param_groups[0]


def test_a_dynamic_loss_scale_that_is_due_already_grows(parameter):
    """After more finite steps than the optimizer that goes on waits for (L-024)."""
    slow = Lion([parameter(1.0)], loss_scale="dynamic")
    for _ in range(5):
        slow.step()
    quick = Lion([parameter(1.0)], loss_scale="dynamic", loss_scale_growth_interval=3)
    quick.load_state_dict(slow.state_dict())
    quick.step()
    assert quick.loss_scale == 2 * slow.loss_scale


def test_what_is_no_state_is_refused(parameter, bits):
    for state in ({"model": 1}, {"state": [], "param_groups": []}):
        refused(StateError, "it has no 'state'", Lion([parameter(1.0)]), state, bits)


def test_a_setting_out_of_range_is_refused_before_anything_changes(parameter, bits):
    optimizer, other = Lion([parameter(1.0)]), Lion([parameter(1.0)])
    optimizer.step()
    for setting in ({"lr": -1}, {"lr": lambda step: 1.0}, {"betas": (0.9, 2)}):
        state = other.state_dict()
        state["param_groups"][0] |= setting
        refused(ConfigError, "|".join(setting), optimizer, state, bits)


def test_a_window_is_not_cut_short(bits):
    p, longer = start({"gradient_accumulation_steps": 3})
    train(p, longer, range(2))
    q, shorter = start({"gradient_accumulation_steps": 2})
    train(q, shorter, range(1))
    words = "2 micro-steps into an update.*gradient_accumulation_steps=3 or more"
    refused(StateError, words, shorter, longer.state_dict(), bits)
    q, none = start({})
    refused(StateError, "every step", none, longer.state_dict(), bits)


def test_after_a_whole_window_a_run_goes_on_without_sums(bits):
    p, summed = start({"gradient_accumulation_steps": 2})
    train(p, summed, range(2))
    q, plain = start({})
    plain.load_state_dict(summed.state_dict())
    with torch.no_grad():
        q.copy_(p)
    train(q, plain, [2])
    train(p, summed, [2, 2])
    assert bits(q) == bits(p)
    assert set(plain.state[q]) == {"exp_avg"}


def test_groups_that_were_saved_with_several_counts_get_one(parameter):
    optimizer = Lion([{"params": [parameter(1.0)]}, {"params": [parameter(1.0)]}])
    state = optimizer.state_dict()
    state["param_groups"][0]["count"] = torch.tensor(3)
    optimizer.load_state_dict(state)
    assert [int(group["count"]) for group in optimizer.param_groups] == [3, 3]
