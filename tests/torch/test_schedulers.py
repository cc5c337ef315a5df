"""Every learning rate scheduler of torch: the bits of a run whose rates were set by hand."""

import inspect

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from torch.optim import lr_scheduler  # noqa: E402

from lion_ports.torch import Lion  # noqa: E402

STEPS = 6
SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 4]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, total_iters=3),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, total_iters=4, power=2.0),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 1e-3, 1e-2, 2, cycle_momentum=False),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, 1e-2, total_steps=STEPS + 1, cycle_momentum=False
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[3],
    ),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=1e-3, anneal_epochs=3),
}


def test_the_table_has_every_scheduler_of_this_torch():
    base = lr_scheduler.LRScheduler
    found = {
        name
        for name, one in vars(lr_scheduler).items()
        if inspect.isclass(one) and issubclass(one, base) and one is not base and name[0] != "_"
    }
    assert found | {"SWALR"} == set(SCHEDULERS)


def start(lr):
    p = torch.nn.Parameter(torch.linspace(-1, 1, 5))
    return p, Lion([{"params": [p]}], lr=lr, weight_decay=0.1)


def update(p, optimizer, step):
    p.grad = torch.randn(5, generator=torch.Generator().manual_seed(step))
    optimizer.step()


@pytest.mark.parametrize("tensor", [False, True], ids=["float", "tensor"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduled_steps_are_those_of_rates_set_by_hand(name, tensor, bits):
    p, optimizer = start(torch.tensor(0.01, dtype=torch.float64) if tensor else 0.01)
    q, by_hand = start(0.01)
    scheduler = SCHEDULERS[name](optimizer)
    rates = []
    for step in range(STEPS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        update(p, optimizer, step)
        if name == "ReduceLROnPlateau":
            scheduler.step(1.0)
        else:
            scheduler.step()
    for step, rate in enumerate(rates):
        by_hand.param_groups[0]["lr"] = rate
        update(q, by_hand, step)
    assert len(set(rates)) > 1
    assert bits(p) == bits(q)


def test_cyclic_momentum_names_what_it_needs():
    """Lion's betas are no "momentum" that a scheduler could cycle; torch cycles betas[0]."""
    p, optimizer = start(0.01)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=4)
    first = optimizer.param_groups[0]["betas"]
    update(p, optimizer, 0)
    scheduler.step()
    assert optimizer.param_groups[0]["betas"][0] < first[0]
    assert optimizer.param_groups[0]["betas"][1] == 0.99


def test_a_schedule_and_a_scheduler_agree(bits):
    p, scheduled = start(lambda step: 0.01 * 0.5**step)
    q, plain = start(0.01)
    scheduler = lr_scheduler.ExponentialLR(plain, 0.5)
    for step in range(STEPS):
        update(p, scheduled, step)
        update(q, plain, step)
        scheduler.step()
    assert bits(p) == bits(q)


def test_a_scheduler_resumes_with_its_optimizer(bits):
    p, optimizer = start(0.01)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS)
    q, other = start(0.5)
    resumed = lr_scheduler.CosineAnnealingLR(other, T_max=STEPS)
    for step in range(STEPS):
        if step == 3:
            with torch.no_grad():
                q.copy_(p)
            other.load_state_dict(optimizer.state_dict())
            resumed.load_state_dict(scheduler.state_dict())
        update(p, optimizer, step)
        scheduler.step()
        if step >= 3:
            update(q, other, step)
            resumed.step()
    assert bits(p) == bits(q)
