"""Lion for JAX: optax transforms (``lion``, ``scale_by_lion``) and ``fused_lion``, in place."""

from lion_ports.jax.arithmetic import lion_update as lion_update
from lion_ports.jax.optimizer import FusedLion as FusedLion
from lion_ports.jax.optimizer import LionState as LionState
from lion_ports.jax.optimizer import fused_lion as fused_lion
from lion_ports.jax.optimizer import lion as lion
from lion_ports.jax.optimizer import scale_by_lion as scale_by_lion
