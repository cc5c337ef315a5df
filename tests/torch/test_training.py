"""What training loops do with an optimizer of torch."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports.torch import Lion  # noqa: E402


def test_closure_is_called_with_gradients_on(parameter):
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (3 * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    assert p.item() == 0.5


def test_step_hooks_come_before_and_after(parameter):
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5)
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(p.item()))
    optimizer.register_step_post_hook(lambda *_: seen.append(p.item()))
    optimizer.step()
    assert seen == [1.0, 0.5]


def test_zero_grad_leaves_no_gradient_or_zeros(parameter):
    p = parameter(1.0)
    optimizer = Lion([p], lr=0.5)
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()
    assert p.item() == 1.0  # left alone
    p.grad = torch.ones(1)
    optimizer.zero_grad(set_to_none=False)
    optimizer.state[p]["exp_avg"] = torch.ones(1)
    optimizer.step()
    assert p.item() == 0.5  # took part, by its momentum


def test_a_group_added_in_mid_training_has_settings_of_its_own_and_the_count_of_all(parameter):
    p, late = parameter(1.0), parameter(1.0)
    optimizer = Lion([p], lr=lambda step: 0.5**step, weight_decay=0.0)
    optimizer.step()
    optimizer.add_param_group({"params": [late], "weight_decay": 0.5})
    optimizer.step()
    assert p.item() == 1 - 1 - 0.5
    assert late.item() == 1 - 0.5 * (1 + 0.5)
    optimizer.param_groups[1]["weight_decay"] = 0.0
    optimizer.step()
    assert late.item() == 0.25 - 0.25


def test_accumulation_goes_on_when_a_group_is_added(parameter):
    p, late = parameter(1.0), parameter(1.0)
    optimizer = Lion([p], lr=0.5, gradient_accumulation_steps=2)
    optimizer.step()
    optimizer.add_param_group({"params": [late]})
    optimizer.step()
    assert (p.item(), late.item()) == (0.5, 0.5)


def test_accumulation_leaves_parameters_that_were_only_looked_at(parameter):
    p, other = parameter(1.0), parameter(1.0)
    other.grad = None
    optimizer = Lion([p, other], lr=0.5, gradient_accumulation_steps=2)
    assert optimizer.state[other] == {}
    for _ in range(2):
        optimizer.step()
    assert (p.item(), other.item()) == (0.5, 1.0)


def test_a_tensor_learning_rate_is_read_at_every_step(parameter):
    p, lr = parameter(1.0), torch.tensor(0.5)
    optimizer = Lion([p], lr=lr)
    optimizer.step()
    lr.fill_(0.25)
    optimizer.step()
    assert p.item() == 0.25


def test_a_complex_parameter_is_a_pair_of_reals(bits):
    generator = torch.Generator().manual_seed(0)
    x, g = torch.randn(2, 3, 5, dtype=torch.complex64, generator=generator)
    p, q = torch.nn.Parameter(x.clone()), torch.nn.Parameter(torch.view_as_real(x).clone())
    p.grad, q.grad = g, torch.view_as_real(g).clone()
    for parameter in (p, q):
        Lion([parameter], lr=0.1, weight_decay=0.5, cautious=True, clipnorm=1.0).step()
    assert bits(torch.view_as_real(p)) == bits(q)


@pytest.mark.parametrize("foreach", [None, False, True])
def test_foreach_changes_nothing(foreach, bits):
    p, q = (torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    for _ in range(3):
        p.grad = q.grad = torch.linspace(2, -1, 7)
        Lion([p], lr=0.1, weight_decay=0.5).step()
        Lion([q], lr=0.1, weight_decay=0.5, foreach=foreach).step()
    assert bits(p) == bits(q)


def test_averaged_models_of_swa_utils(parameter):
    """torch's averages of a model in float32, and Lion's own, which follow every update."""
    model = torch.nn.Module()
    model.p = parameter(1.0)
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)
    )
    optimizer = Lion(model.parameters(), lr=0.25, ema_decay=0.5)
    averaged.update_parameters(model)  # torch's average begins with its first update
    for _ in range(3):
        optimizer.step()
        averaged.update_parameters(model)
    expected = 0.5 * (0.5 * (0.5 * 1 + 0.5 * 0.75) + 0.5 * 0.5) + 0.5 * 0.25
    with optimizer.averaged():
        assert model.p.item() == averaged.module.p.item() == expected
    assert model.p.item() == 0.25


def test_frozen_and_unused_parameters_are_left_alone(parameter):
    frozen, unused, p = parameter(1.0), parameter(1.0), parameter(1.0)
    frozen.requires_grad_(False)
    frozen.grad = unused.grad = None
    optimizer = Lion([frozen, unused, p], lr=0.5, weight_decay=0.5)
    optimizer.step()
    assert (frozen.item(), unused.item(), p.item()) == (1.0, 1.0, 0.25)
    assert set(optimizer.state) == {p}


def test_gradients_are_never_written_to(parameter, bits):
    p = parameter(3.0, -4.0)
    before = bits(p.grad)
    settings = {"clipnorm": 1.0, "loss_scale": 4.0, "cautious": True, "maximize": True}
    Lion([p], weight_decay=0.5, **settings).step()
    assert bits(p.grad) == before
