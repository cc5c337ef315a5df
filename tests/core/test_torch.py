"""lion_ports.torch.Lion as PyTorch users know an optimizer. Its arithmetic: tests/conformance."""

import copy
import io
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports import ConfigError, DtypeError, NonFiniteError  # noqa: E402
from lion_ports.torch import Lion  # noqa: E402


def parameter(*values, dtype=torch.float32):
    p = torch.nn.Parameter(torch.tensor(values, dtype=dtype))
    p.grad = torch.ones_like(p)
    return p


def test_groups_have_their_own_settings():
    a, b = parameter(1.0), parameter(1.0)
    Lion([{"params": [a], "lr": 0.5}, {"params": [b], "weight_decay": 1.0}], lr=0.25).step()
    assert (a.item(), b.item()) == (0.5, 0.5)


def test_a_bad_group_is_not_added():
    optimizer = Lion([parameter(1.0)])
    with pytest.raises(ConfigError, match="lr = -1"):
        optimizer.add_param_group({"params": [parameter(1.0)], "lr": -1})
    assert len(optimizer.param_groups) == 1


def test_an_unknown_setting_names_its_nearest():
    with pytest.raises(ConfigError, match="'weight_decy'; did you mean 'weight_decay'"):
        Lion([parameter(1.0)], weight_decy=0.1)


def test_torch_schedulers_and_schedules_agree():
    a, b = parameter(1.0), parameter(1.0)
    plain, scheduled = Lion([a], lr=0.5), Lion([b], lr=lambda step: 0.5 * 0.5**step)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(plain, 0.5)
    for _ in range(4):
        plain.step()
        scheduler.step()
        scheduled.step()
    assert a.item() == b.item() == 1 - 0.5 - 0.25 - 0.125 - 0.0625


def test_independent_decay_remembers_its_peak_in_the_state():
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5, weight_decay=0.25, decay="independent")
    state = optimizer.state_dict()
    other = Lion([parameter(1.0)], lr=0.125, weight_decay=0.25, decay="independent")
    other.load_state_dict(state)
    assert other.param_groups[0]["lr_peak"] == 0.5


def test_closure_is_called_with_gradients_on():
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (3 * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    assert p.item() == 0.5


def test_a_float32_momentum_on_bfloat16_parameters_survives_saving():
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
def test_copies_go_on_alike(duplicate):
    optimizer = Lion([parameter(1.0)], lr=0.5)
    optimizer.step()
    other = duplicate(optimizer)
    (p,) = other.param_groups[0]["params"]
    p.grad = torch.ones_like(p)
    other.step()
    optimizer.step()
    assert torch.equal(p, optimizer.param_groups[0]["params"][0])


def test_nonfinite_raise_names_the_parameter_and_moves_nothing():
    model = torch.nn.Linear(2, 1)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.bias.grad.fill_(float("nan"))
    before = model.weight.detach().clone()
    with pytest.raises(NonFiniteError, match="bias"):
        Lion(model.named_parameters(), nonfinite="raise").step()
    assert torch.equal(model.weight, before)


def test_nonfinite_skip_counts():
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5, nonfinite="skip")
    p.grad.fill_(float("inf"))
    optimizer.step()
    assert (p.item(), optimizer.skipped) == (1.0, 1)


def test_sparse_gradients_and_integer_parameters_are_refused():
    first, p = parameter(1.0), parameter(1.0, 2.0)
    p.grad = torch.ones(2).to_sparse()
    for nonfinite in ("propagate", "skip"):
        with pytest.raises(DtypeError, match=r"parameter 1 of group 0 is sparse.*dense gradients"):
            Lion([first, p], lr=0.5, nonfinite=nonfinite).step()
    assert first.item() == 1.0
    with pytest.raises(DtypeError, match=r"parameter 0 of group 0 has dtype torch\.int64"):
        Lion([torch.ones(2, dtype=torch.int64)])


def test_slices_do_not_change_the_result():
    p, q = parameter(1.0), parameter(1.0)
    wide = torch.randn(3, 200_003, generator=torch.Generator().manual_seed(1))
    a, b = torch.nn.Parameter(wide.clone()), torch.nn.Parameter(wide.T.contiguous().T)
    a.grad = b.grad = wide.flip(0).contiguous()
    assert not b.is_contiguous()
    for x in (a, b):
        Lion([x, p, q], lr=0.5, weight_decay=0.1).step()
    assert torch.equal(a, b)


def test_looking_at_the_state_does_no_harm():
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5)
    assert optimizer.state[p] == {}
    optimizer.step()
    assert p.item() == 0.5


def test_settings_of_a_group_are_known_and_its_own():
    for group, words in (({"weight_decy": 1.0}, "did you mean"), ({"nonfinite": "skip"}, "not of")):
        with pytest.raises(ConfigError, match=words):
            Lion([{"params": [parameter(1.0)], "lr_scale": 0.5, **group}])


def test_scalars_of_other_frameworks_are_learning_rates():
    p = parameter(1.0)
    Lion([p], lr=np.array(0.5)).step()
    assert p.item() == 0.5


def test_what_a_schedule_gives_is_checked():
    optimizer = Lion([parameter(1.0)], lr=lambda step: 0.5 - step)
    optimizer.step()
    with pytest.raises(ConfigError, match=r"lr = -0\.5"):
        optimizer.step()


def test_a_state_of_another_lion_is_completed():
    p = parameter(1.0)
    group = {"lr": 0.25, "betas": (0.9, 0.99), "weight_decay": 0.0, "params": [0]}
    other = {"state": {0: {"exp_avg": torch.tensor([-1.0])}}, "param_groups": [group]}
    optimizer = Lion([p], lr=0.5)
    optimizer.load_state_dict(other)
    optimizer.step()
    assert p.item() == 1.25


def test_hooks_see_and_change_the_state_that_is_loaded():
    p = parameter(1.0)
    optimizer = Lion([p])
    optimizer.step()
    saved = optimizer.state_dict()

    def cleared(optimizer, state):
        return state | {"state": {0: {"exp_avg": torch.zeros(1)}}}

    optimizer.register_load_state_dict_pre_hook(cleared)
    optimizer.load_state_dict(saved)
    assert optimizer.state[p]["exp_avg"].item() == 0


def test_step_without_any_gradient_does_nothing():
    p = parameter(1.0)
    p.grad = None
    optimizer = Lion([p], weight_decay=0.5, nonfinite="raise")
    optimizer.step()
    assert p.item() == 1.0
    assert p not in optimizer.state


def test_a_tensor_learning_rate_does_not_recompile():
    p, lr = parameter(*[1.0] * 40), torch.tensor(0.5)
    optimizer = Lion([p], lr=lr)
    torch.compiler.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    step = torch.compile(optimizer.step, backend=backend)
    for i in range(6):
        lr.fill_(0.5 / (i + 1))
        step()
    assert len(graphs) <= 2  # the second one has a momentum to start from
    assert p[0].item() == pytest.approx(1 - 0.5 * sum(1 / (i + 1) for i in range(6)))
