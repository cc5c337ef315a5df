"""Constant and dynamic loss scales."""

import mlx.core as mx
import pytest

from lion_ports.mlx import Lion

INF = float("inf")


def test_without_the_option_the_scale_is_one():
    assert Lion().loss_scale.item() == 1


def test_a_constant_scale_is_divided_out():
    optimizer = Lion(0.5, betas=(0.0, 0.0), loss_scale=4)
    optimizer.apply_gradients({"w": mx.array([8.0])}, {"w": mx.ones(1)})
    assert optimizer.loss_scale.item() == 4
    assert optimizer.state["w"]["m"].item() == 2


def test_gradients_that_float16_would_lose_move_the_parameter():
    x = {"w": mx.ones(1, mx.float16)}
    optimizer = Lion(0.5, loss_scale="dynamic")

    def loss(w, scale):
        return ((w * 2.0**-14).astype(mx.float32) * (scale * 2.0**-14)).sum()

    lost = mx.grad(loss)(x["w"], mx.array(1.0))
    kept = mx.grad(loss)(x["w"], optimizer.loss_scale)
    assert lost.item() == 0 != kept.item()
    assert optimizer.apply_gradients({"w": kept}, x)["w"].item() == 0.5
    assert optimizer.state["w"]["m"].item() == 0  # 0.01 * 2**-28 is nothing in float16


def test_a_dynamic_scale_grows_and_is_halved_and_the_step_is_left_out():
    optimizer = Lion(0.5, loss_scale="dynamic", loss_scale_growth_interval=2)
    x, scales = {"w": mx.array([8.0])}, [optimizer.loss_scale.item()]
    for g in (1.0, 1.0, INF, 1.0, INF, 1.0, 1.0):
        x = optimizer.apply_gradients({"w": mx.array([g])}, x)
        scales.append(optimizer.loss_scale.item())
    assert [scale / 2**15 for scale in scales] == [1, 1, 2, 1, 1, 0.5, 0.5, 1]
    assert (optimizer.skipped, optimizer.step.item(), x["w"].item()) == (2, 5, 8 - 5 * 0.5)


@pytest.mark.parametrize(("g", "bound"), [(INF, 1.0), (1.0, 2.0**24)])
def test_a_dynamic_scale_stays_within_its_bounds(g, bound):
    optimizer = Lion(loss_scale="dynamic", loss_scale_growth_interval=1)
    for _ in range(20):
        optimizer.apply_gradients({"w": mx.array([g])}, {"w": mx.ones(1)})
    assert optimizer.loss_scale.item() == bound
