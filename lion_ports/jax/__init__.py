"""Lion for JAX: optax transforms (``lion``, ``scale_by_lion``) and ``fused_lion``, in place."""

from lion_ports.jax.lion_state import LionState as LionState
from lion_ports.jax.lion_state import averaged_params as averaged_params
from lion_ports.jax.optimizer import FusedLion as FusedLion
from lion_ports.jax.optimizer import fused_lion as fused_lion
from lion_ports.jax.optimizer import lion as lion
from lion_ports.jax.optimizer import scale_by_lion as scale_by_lion
from lion_ports.jax.state import export_state as export_state
from lion_ports.jax.state import import_state as import_state
from lion_ports.jax.update import lion_update as lion_update
