"""Gradient release: the bits of ordinary steps, and never two gradients at once."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from lion_ports import ConfigError, LionError  # noqa: E402
from lion_ports.torch import Lion, release_gradients  # noqa: E402

STEPS = 4
SETTINGS = {
    "plain": {"lr": 0.01, "weight_decay": 0.1},
    "schedule": {"lr": lambda step: 0.01 / (step + 1), "weight_decay": lambda step: 0.1 * step},
    "per parameter": {"lr": 0.01, "cautious": True, "clipnorm": 0.1, "nonlinearity": "tanh"},
    "scaled": {"lr": 0.01, "loss_scale": 4.0, "clipvalue": 0.1, "maximize": True},
    "average": {"lr": 0.01, "ema_decay": 0.9, "ema_overwrite_every": 2},
}


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))


def train(model, optimizer, steps=STEPS):
    for x in torch.randn(steps, 4, 3, generator=torch.Generator().manual_seed(1)):
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_released_and_ordinary_steps_are_the_same(settings, bits):
    model, released = make_model(), make_model()
    optimizer = Lion(model.parameters(), **settings)
    train(model, optimizer)
    other = Lion(released.parameters(), **settings)
    release_gradients(other)
    train(released, other)
    assert bits(list(released.parameters())) == bits(list(model.parameters()))
    assert bits(other.state_dict()) == bits(optimizer.state_dict())


@pytest.mark.parametrize("release", [False, True])
def test_a_rate_set_by_hand_holds_for_one_step_of_every_parameter(release, bits):
    model, due = make_model(), make_model()
    optimizer = Lion(model.parameters(), lr=lambda step: 0.25)
    if release:
        release_gradients(optimizer)
    for own, rate in ((0.5, 0.5), (None, 0.25)):
        if own is not None:
            optimizer.param_groups[0]["lr"] = own
        before = bits(list(model.parameters()))
        train(model, optimizer, steps=1)
        assert bits(list(model.parameters())) != before
        for p, q in zip(model.parameters(), due.parameters(), strict=True):
            assert torch.allclose((p - q).abs(), torch.tensor(rate))
        due.load_state_dict(model.state_dict())


def test_no_two_gradients_exist_at_once():
    model = make_model()
    optimizer = Lion(model.parameters())
    counts = []

    def count(_):
        counts.append(sum(p.grad is not None for p in model.parameters()))

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(count)  # just before the update
    release_gradients(optimizer)
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(count)  # just after it
    train(model, optimizer, steps=2)
    assert counts == [1, 0] * 4 * 2


def test_one_optimizer_for_each_parameter(bits):
    """The pattern of torch's tutorial on optimizer steps in the backward pass."""
    model, together = make_model(), make_model()
    optimizers = {p: Lion([p], lr=0.01, weight_decay=0.1) for p in model.parameters()}

    def hook(p):
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)
    for x in torch.randn(STEPS, 4, 3, generator=torch.Generator().manual_seed(1)):
        model(x).square().mean().backward()
    train(together, Lion(together.parameters(), lr=0.01, weight_decay=0.1))
    assert bits(list(model.parameters())) == bits(list(together.parameters()))


def test_groups_torch_schedulers_and_frozen_parameters(bits):
    ways = []
    for release in (False, True):
        model = make_model()
        model[0].bias.requires_grad_(False)
        first, last = ({"params": model[i].parameters()} for i in (0, 2))
        optimizer = Lion([first | {"weight_decay": 0.1}, last | {"lr": 0.02}], lr=0.01)
        if release:
            release_gradients(optimizer)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for _ in range(3):
            train(model, optimizer, steps=1)
            scheduler.step()
        ways.append([list(model.parameters()), optimizer.state_dict()])
    assert bits(ways[0]) == bits(ways[1])


def test_closures():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = Lion([p], lr=0.25)
    release_gradients(optimizer)

    def closure():
        loss = p.sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert p.tolist() == [0.75, 0.75]
    assert optimizer.param_groups[0]["count"] == 1


def test_a_removed_release_leaves_gradients_to_step():
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = Lion([p], lr=0.25)
    with release_gradients(optimizer):
        p.sum().backward()
        optimizer.step()
    p.sum().backward()
    assert (p.item(), p.grad.item()) == (0.75, 1.0)
    optimizer.step()
    assert p.item() == 0.5


def test_a_release_goes_on_after_loading(bits):
    """load_state_dict makes new groups."""
    runs = []
    for release in (False, True):
        model = make_model()
        optimizer = Lion(model.parameters(), lr=0.5)
        if release:
            release_gradients(optimizer)
        train(model, optimizer, steps=1)
        state = optimizer.state_dict()
        state["param_groups"][0]["lr"] = 0.01
        optimizer.load_state_dict(state)
        train(model, optimizer)
        runs.append([list(model.parameters()), optimizer.state_dict()])
    assert bits(runs[0]) == bits(runs[1])


def test_parameters_added_later_are_updated_by_step(parameter):
    p, late = torch.nn.Parameter(torch.ones(1)), parameter(1.0)
    optimizer = Lion([p], lr=0.25)
    release_gradients(optimizer)
    optimizer.add_param_group({"params": [late]})
    p.sum().backward()
    assert (p.item(), late.item()) == (0.75, 1.0)
    optimizer.step()
    assert (p.item(), late.item()) == (0.75, 0.75)


def test_a_second_gradient_before_step_is_an_error():
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = Lion([p], lr=0.25)
    release_gradients(optimizer)
    p.sum().backward()
    with pytest.raises(LionError, match=r"second gradient before optimizer\.step\(\)"):
        p.sum().backward()
    assert p.item() == 0.75


@pytest.mark.parametrize(
    "settings",
    [
        {"global_clipnorm": 1.0},
        {"nonfinite": "skip"},
        {"nonfinite": "raise"},
        {"gradient_accumulation_steps": 2},
        {"loss_scale": "dynamic"},
    ],
    ids=str,
)
def test_options_that_need_all_gradients_are_refused(settings):
    ((name, value),) = settings.items()
    optimizer = Lion([torch.nn.Parameter(torch.ones(1))], **settings)
    with pytest.raises(ConfigError, match=f"{name} = {value!r} needs all gradients at once"):
        release_gradients(optimizer)


def test_all_refused_options_are_in_one_error():
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = Lion([p], nonfinite="skip", gradient_accumulation_steps=2)
    with pytest.raises(ConfigError, match="2 problems: "):
        release_gradients(optimizer)


def test_a_grad_scaler_is_refused():
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = Lion([p])
    release_gradients(optimizer)
    optimizer.grad_scale = torch.tensor(2.0)
    with pytest.raises(ConfigError, match="GradScaler"):
        optimizer.step()


def test_a_second_release_of_one_optimizer_is_refused():
    p = torch.nn.Parameter(torch.ones(1))
    optimizer = Lion([p], lr=0.25)
    with release_gradients(optimizer) as first:
        with pytest.raises(ConfigError, match="released already"):
            release_gradients(optimizer)
        p.sum().backward()
        optimizer.step()
    assert p.item() == 0.75
    second = release_gradients(optimizer)
    first.remove()  # is over, and ends no other
    with pytest.raises(ConfigError, match="released already"):
        release_gradients(optimizer)
    second.remove()


def test_what_is_no_lion_of_ours_has_no_release():
    model = make_model()
    for other in (torch.optim.AdamW(model.parameters()), model, None):
        with pytest.raises(ConfigError, match=f"and a {type(other).__name__} was given"):
            release_gradients(other)


def test_update_parameter_needs_a_gradient():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = Lion([p], lr=0.25)
    with pytest.raises(ConfigError, match=r"parameter of shape \(2,\) has none"):
        optimizer.update_parameter(p, 0)
    assert p.tolist() == [1, 1]
    assert not optimizer.state
