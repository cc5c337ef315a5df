"""Settings, groups and gradients as PyTorch users know them. The arithmetic: tests/conformance."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports import ConfigError, DtypeError, NonFiniteError  # noqa: E402
from lion_ports.config import Scalars  # noqa: E402
from lion_ports.torch import Lion, export_state, import_state, lion_update_  # noqa: E402


def test_groups_have_their_own_settings(parameter):
    a, b = parameter(1.0), parameter(1.0)
    Lion([{"params": [a], "lr": 0.5}, {"params": [b], "weight_decay": 1.0}], lr=0.25).step()
    assert (a.item(), b.item()) == (0.5, 0.5)


def test_a_bad_group_is_not_added(parameter):
    optimizer = Lion([parameter(1.0)])
    with pytest.raises(ConfigError, match="lr = -1"):
        optimizer.add_param_group({"params": [parameter(1.0)], "lr": -1})
    assert len(optimizer.param_groups) == 1


def test_settings_of_a_group_are_known_and_its_own(parameter):
    for group, words in (({"weight_decy": 1.0}, "did you mean"), ({"nonfinite": "skip"}, "not of")):
        with pytest.raises(ConfigError, match=words):
            Lion([{"params": [parameter(1.0)], "lr_scale": 0.5, **group}])


def test_an_unknown_setting_names_its_nearest(parameter):
    with pytest.raises(ConfigError, match="'weight_decy'; did you mean 'weight_decay'"):
        Lion([parameter(1.0)], weight_decy=0.1)


def test_scalars_of_other_frameworks_are_learning_rates(parameter):
    p = parameter(1.0)
    Lion([p], lr=np.array(0.5)).step()
    assert p.item() == 0.5


def test_what_a_schedule_gives_is_checked(parameter):
    optimizer = Lion([parameter(1.0)], lr=lambda step: 0.5 - step)
    optimizer.step()
    with pytest.raises(ConfigError, match=r"lr = -0\.5"):
        optimizer.step()


def test_nonfinite_raise_names_the_parameter_and_moves_nothing():
    model = torch.nn.Linear(2, 1)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.bias.grad.fill_(float("nan"))
    before = model.weight.detach().clone()
    with pytest.raises(NonFiniteError, match="bias"):
        Lion(model.named_parameters(), nonfinite="raise").step()
    assert torch.equal(model.weight, before)


def test_nonfinite_skip_counts(parameter):
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5, nonfinite="skip")
    p.grad.fill_(float("inf"))
    optimizer.step()
    assert (p.item(), optimizer.skipped) == (1.0, 1)


def test_sparse_gradients_and_integer_parameters_are_refused(parameter):
    first, p = parameter(1.0), parameter(1.0, 2.0)
    p.grad = torch.ones(2).to_sparse()
    for nonfinite in ("propagate", "skip"):
        with pytest.raises(DtypeError, match=r"parameter 1 of group 0 is sparse.*dense gradients"):
            Lion([first, p], lr=0.5, nonfinite=nonfinite).step()
    assert first.item() == 1.0
    with pytest.raises(DtypeError, match=r"parameter 0 of group 0 has dtype torch\.int64"):
        Lion([torch.ones(2, dtype=torch.int64)])


def test_slices_do_not_change_the_result(parameter):
    p, q = parameter(1.0), parameter(1.0)
    wide = torch.randn(3, 200_003, generator=torch.Generator().manual_seed(1))
    a, b = torch.nn.Parameter(wide.clone()), torch.nn.Parameter(wide.T.contiguous().T)
    a.grad = b.grad = wide.flip(0).contiguous()
    assert not b.is_contiguous()
    for x in (a, b):
        Lion([x, p, q], lr=0.5, weight_decay=0.1).step()
    assert torch.equal(a, b)


def test_looking_at_the_state_does_no_harm(parameter):
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5)
    assert optimizer.state[p] == {}
    optimizer.step()
    assert p.item() == 0.5


def test_step_without_any_gradient_does_nothing(parameter):
    p = parameter(1.0)
    p.grad = None
    optimizer = Lion([p], weight_decay=0.5, nonfinite="raise")
    optimizer.step()
    assert p.item() == 1.0
    assert p not in optimizer.state


def test_micro_steps_without_any_gradient_are_counted(parameter):
    p = parameter(1.0)
    p.grad = None
    optimizer = Lion([p], lr=0.5, gradient_accumulation_steps=3)
    for _ in range(4):  # one window, and one micro-step of the next
        optimizer.step()
    counts = [int(optimizer.param_groups[0][name]) for name in ("count", "micro")]
    assert (p.item(), *counts) == (1.0, 1, 1)
    p.grad = torch.ones(1)
    optimizer.step()
    p.grad = None
    optimizer.step()
    assert p.item() == 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"loss_scale": "dynamic", "gradient_accumulation_steps": 2},
        {"decay": "independent", "nonlinearity": "tanh"},
        {"momentum_dtype": "int8", "correction_bits": 8},
    ],
    ids=str,
)
def test_another_default_device_changes_nothing(options, bits):
    """``meta`` has no values: whatever was made there would be an error when it is looked at."""
    runs = []
    for device in ("cpu", "meta"):
        p = torch.nn.Parameter(torch.linspace(-1, 1, 1 << 15, device="cpu").bfloat16())
        with torch.device(device):
            optimizer = Lion([("p", p)], lr=0.1, weight_decay=0.1, **options)
            for _ in range(2):
                p.grad = torch.ones_like(p)
                optimizer.step()
            import_state(export_state([("p", p)], optimizer), [("p", p)], optimizer)
            for _ in range(2):
                optimizer.step()
        runs.append(bits([p, optimizer.state_dict()]))
    assert runs[0] == runs[1]


def test_gradients_of_no_elements_are_finite_on_any_default_device():
    p = torch.nn.Parameter(torch.empty(0, dtype=torch.complex64))
    p.grad = torch.empty_like(p)
    optimizer = Lion([p], nonfinite="skip")
    with torch.device("meta"):
        optimizer.step()
    assert optimizer.skipped == 0


@pytest.mark.parametrize("wd", [0.1, torch.tensor(0.1)], ids=str)
def test_a_peak_on_a_device_is_not_waited_for(wd):
    """As of ``meta``, which never has it."""
    x, peak = torch.ones(3, device="meta"), torch.tensor(0.1, device="meta")
    lion_update_(x, x.clone(), x.clone(), Scalars(0.1, 0.9, 0.99, wd, peak))


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
@pytest.mark.parametrize("named", [False, True])
def test_a_parameter_that_is_given_twice_is_updated_once(named, parameter):
    """As the weights of an embedding that are those of the last layer too (L-002)."""
    p, q = parameter(1.0), parameter(2.0)
    optimizer = Lion([("p", p), ("q", q), ("tied", p)] if named else [p, q, p], lr=0.25)
    optimizer.step()
    assert (p.item(), q.item()) == (0.75, 1.75)
    group = optimizer.param_groups[0]
    assert [id(each) for each in group["params"]] == [id(p), id(q)]
    assert group.get("param_names") == (["p", "q"] if named else None)


def test_a_conjugated_view_is_refused_and_what_it_stands_for_is_updated():
    """Nothing that is written to its pairs of reals would reach it."""
    matrix = torch.full((2, 2), 1 + 1j)
    with pytest.raises(DtypeError, match=r"parameter 0 of group 0 is a conjugated view.*resolve"):
        Lion([torch.nn.Parameter(matrix.mH)])
    p = torch.nn.Parameter(matrix.mH.resolve_conj())
    p.grad = torch.ones_like(p).mul(1j).conj()
    Lion([p], lr=0.25).step()
    assert torch.equal(p, torch.full((2, 2), 1 - 0.75j))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_sign_that_is_not_in_memory_counts_in_large_tensors_as_well(dtype):
    generator = torch.Generator().manual_seed(0)
    x, g = torch.randn(2, 20_011, generator=generator).to(dtype)
    stored, negative = torch.nn.Parameter(x.clone()), torch.nn.Parameter(torch._neg_view(-x))
    stored.grad, negative.grad = g, torch._neg_view(-g)
    optimizer = Lion([stored, negative], lr=0.25, weight_decay=0.5)
    optimizer.step()
    optimizer.step()
    assert torch.equal(stored, negative)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_ascent_changes_the_sign_of_complex_zeros(dtype):
    """Also where gradient and parameter lie in memory in different orders (L-018)."""
    for g in (torch.zeros(8, 4, dtype=dtype), torch.zeros(4, 8, dtype=dtype).T):
        p = torch.nn.Parameter(torch.ones(8, 4, dtype=dtype))
        p.grad = g
        optimizer = Lion([p], betas=(0.5, 0.0), maximize=True)
        optimizer.state[p]["exp_avg"] = m = torch.full_like(p, -1 - 1j)
        optimizer.step()
        assert torch.view_as_real(m).signbit().all()  # 0 * -1 + 1 * -0
