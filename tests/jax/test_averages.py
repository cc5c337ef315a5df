"""The averaged parameters (L-029)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lion_ports import ConfigError, LionConfig, reference
from lion_ports.jax import averaged_params, fused_lion, lion

pytestmark = pytest.mark.usefixtures("strict")


def test_the_averages_come_in_the_dtypes_of_the_parameters(arrays):
    optimizer = fused_lion(1e-2, ema_decay=0.5)
    params = arrays(1, "bfloat16")
    state = optimizer.init(params)
    config = LionConfig(1e-2, ema_decay=0.5)
    due = {n: np.asarray(x) for n, x in params.items()}
    due_state = reference.init(due, config)
    for i in range(3):
        grads = arrays(2 + i)
        params, state = jax.jit(optimizer.step)(params, grads, state)
        due, due_state = reference.step(
            due, {n: np.asarray(g) for n, g in grads.items()}, due_state, config
        )
    averages = averaged_params(state, params)
    for name, e in due_state.average.items():
        assert averages[name].dtype == jnp.bfloat16
        np.testing.assert_array_equal(averages[name], e.astype(averages[name].dtype))


def test_averages_that_are_not_kept_cannot_be_had(arrays):
    with pytest.raises(ConfigError, match="the state has no averages; make the optimizer with"):
        averaged_params(lion().init(arrays(1)), arrays(1))
