"""Lion for MLX: ``lion_ports.mlx.Lion``."""

from lion_ports.mlx.optimizer import Lion
from lion_ports.mlx.state import export_state, import_state
from lion_ports.mlx.update import lion_update

__all__ = [
    "Lion",
    "export_state",
    "import_state",
    "lion_update",
]
