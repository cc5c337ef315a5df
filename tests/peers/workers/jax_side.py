"""``lion_ports.jax.fused_lion`` over named arrays."""

from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp

from lion_ports import PortableState
from lion_ports.jax import export_state, fused_lion, import_state


class Side:
    def __init__(
        self,
        xs: Mapping[str, Any],
        *,
        lr: Any,
        betas: tuple[float, float],
        exclude: Collection[str] = (),
        **settings: Any,
    ) -> None:
        mask = {name: name not in exclude for name in xs}
        self.optimizer = fused_lion(lr, *betas, mask=mask, **settings)
        self.params: Any = {name: jnp.asarray(x) for name, x in xs.items()}
        self.opt_state: Any = self.optimizer.init(self.params)

    def step(self, gs: Mapping[str, Any]) -> None:
        grads = {name: None if g is None else jnp.asarray(g) for name, g in gs.items()}
        self.params, self.opt_state = self.optimizer.step(self.params, grads, self.opt_state)

    def state(self) -> PortableState:
        return export_state(self.params, self.opt_state)

    def restore(self, state: PortableState) -> None:
        self.params, self.opt_state = import_state(state, self.params, self.opt_state)
