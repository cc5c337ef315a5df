"""Lion for MLX: ``lion_ports.mlx.Lion``."""

from lion_ports.mlx.optimizer import Lion as Lion
from lion_ports.mlx.update import lion_update as lion_update
