"""Clipping, ours and MLX's own."""

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest

from lion_ports.mlx import Lion


def momentum(gradients, **options):
    """The gradients as the update sees them: with betas of zero they are the momentum."""
    optimizer = Lion(betas=(0.0, 0.0), **options)
    optimizer.apply_gradients(gradients, {name: mx.zeros_like(g) for name, g in gradients.items()})
    return {name: optimizer.state[name]["m"] for name in gradients}


def random_gradients(scale):
    rng = np.random.default_rng(3)
    shapes = {"a": (16, 8), "b": (5,), "c": ()}
    return {n: mx.array(scale * rng.standard_normal(s), mx.float32) for n, s in shapes.items()}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_clip_grad_norm_of_mlx_is_global_clipnorm(scale):
    gradients = random_gradients(scale)
    clipped, norm = optim.clip_grad_norm(gradients, max_norm=1.0)
    theirs, ours = momentum(clipped), momentum(gradients, global_clipnorm=1.0)
    # MLX divides by norm + 1e-6.
    tolerance = 1e-6 / max(norm.item(), 1.0) + 2.0**-22
    for name, m in ours.items():
        assert mx.allclose(m, theirs[name], rtol=tolerance, atol=0)


def test_gradients_within_the_bound_stay_to_the_bit():
    gradients = random_gradients(1e-3)
    for option in ("clipnorm", "global_clipnorm", "clipvalue"):
        for name, m in momentum(gradients, **{option: 1.0}).items():
            assert mx.array_equal(m, gradients[name])


def test_each_norm_and_that_of_all():
    gradients = {"a": mx.array([3.0, 4.0]), "b": mx.array([12.0])}
    each = momentum(gradients, clipnorm=6.0)
    assert (each["a"].tolist(), each["b"].tolist()) == ([3.0, 4.0], [6.0])
    together = momentum(gradients, global_clipnorm=6.5)
    assert (together["a"].tolist(), together["b"].tolist()) == ([1.5, 2.0], [6.0])


def test_the_norm_of_a_long_vector_is_not_lost():
    # One after another 2**25 ones add up to 2**24 in float32, which is what mx.sum gives.
    m = momentum({"w": mx.ones(2**25, mx.bfloat16)}, clipnorm=1.0)["w"]
    assert m[0].item() == mx.array(2.0**-12.5, mx.bfloat16).item()


def test_a_nan_is_not_clipped_away():
    gradients = {"w": mx.array([float("nan"), 5.0, float("-inf")])}
    clipped = momentum(gradients, clipvalue=2.0)["w"].tolist()
    assert clipped[0] != clipped[0]
    assert clipped[1:] == [2.0, -2.0]
