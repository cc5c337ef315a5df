"""torch.amp: GradScaler scales, skips and rescales, and autocast computes in bfloat16."""

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from torch.amp import GradScaler  # noqa: E402

from lion_ports.torch import Lion  # noqa: E402

STEPS = 4
OVERFLOW = 2


def make_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))


def batches():
    return torch.randn(STEPS, 4, 3, generator=torch.Generator().manual_seed(1))


def train(scaler, between=lambda scaler, optimizer, model: None, **settings):
    """With a scaler, of which one step overflows; without one, that step is left out."""
    model = make_model()
    optimizer = Lion(model.parameters(), **{"lr": 0.01, "weight_decay": 0.1} | settings)
    for i, x in enumerate(batches()):
        loss = model(x).square().mean()
        optimizer.zero_grad()
        if scaler is None:
            if i != OVERFLOW:
                loss.backward()
                between(None, optimizer, model)
                optimizer.step()
            continue
        scaler.scale(loss * float("inf") if i == OVERFLOW else loss).backward()
        between(scaler, optimizer, model)
        scaler.step(optimizer)
        scaler.update()
    return list(model.parameters()), optimizer


@pytest.mark.parametrize("scale", [1.0, 2.0**10, 1000.0])
def test_scaled_steps_are_plain_steps(scale, bits):
    scaler = GradScaler("cpu", init_scale=scale)
    params, optimizer = train(scaler)
    expected, plain = train(None)
    if scale != 1000.0:  # no power of two: a product and a quotient are rounded
        assert bits(params) == bits(expected)
    assert optimizer.param_groups[0]["count"] == plain.param_groups[0]["count"] == STEPS - 1
    assert optimizer.skipped == 1
    assert scaler.get_scale() == scale / 2


def test_gradients_may_be_unscaled_and_clipped_between(bits):
    def clip(scaler, optimizer, model):
        if scaler is not None:
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)

    params, optimizer = train(GradScaler("cpu", init_scale=2.0**10), clip)
    assert bits(params) == bits(train(None, clip)[0])
    assert optimizer.skipped == 1


def test_schedules_do_not_see_a_skipped_step(bits):
    schedule = {"lr": lambda step: 0.01 / (step + 1)}
    params, _ = train(GradScaler("cpu", init_scale=2.0**10), **schedule)
    assert bits(params) == bits(train(None, **schedule)[0])


def test_a_scaler_that_is_off_is_not_there(bits):
    scaler = GradScaler("cpu", enabled=False)
    params, expected = [], []
    for found, one in ((params, scaler), (expected, None)):
        model = make_model()
        optimizer = Lion(model.parameters(), lr=0.01)
        for x in batches():
            loss = model(x).square().mean()
            optimizer.zero_grad()
            (loss if one is None else one.scale(loss)).backward()
            optimizer.step() if one is None else one.step(optimizer)
        found.extend(model.parameters())
    assert bits(params) == bits(expected)


def test_float16_gradients_that_vanish_without_a_scaler_count_with_it(parameter):
    """2^-20 * 2^-10 is nothing in float16."""
    found = []
    for scaler in (None, GradScaler("cpu", init_scale=2.0**14)):
        p = parameter(1.0, dtype=torch.float16)
        optimizer = Lion([p], lr=0.5)
        optimizer.zero_grad()
        loss = (p * 2.0**-20 * 2.0**-10).sum()
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss.float()).backward()
            scaler.step(optimizer)
        found.append(p.item())
    assert found == [1.0, 0.5]


def test_autocast_trains(bits):
    model = make_model()
    optimizer = Lion(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (model(batches()[0]) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert {p.dtype for p in model.parameters()} == {torch.float32}
