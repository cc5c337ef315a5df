"""Lion for MLX: ``lion_ports.mlx.Lion``."""

from lion_ports.mlx.optimizer import Lion as Lion
from lion_ports.mlx.state import export_state as export_state
from lion_ports.mlx.state import import_state as import_state
from lion_ports.mlx.update import lion_update as lion_update
