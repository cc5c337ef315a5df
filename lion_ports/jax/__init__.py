"""Lion for JAX: optax transforms (``lion``, ``scale_by_lion``) and ``fused_lion``, in place."""

from lion_ports.jax.lion_state import LionState, averaged_params
from lion_ports.jax.optimizer import FusedLion, fused_lion, lion, scale_by_lion
from lion_ports.jax.state import export_state, import_state
from lion_ports.jax.update import lion_update

__all__ = [
    "FusedLion",
    "LionState",
    "averaged_params",
    "export_state",
    "fused_lion",
    "import_state",
    "lion",
    "lion_update",
    "scale_by_lion",
]
