"""Lion (EvoLved Sign Momentum, Chen et al. 2023) for MLX, PyTorch and JAX behind one specification.

Importing this package imports no framework. The optimizers live in ``lion_ports.torch.Lion``,
``lion_ports.jax.lion`` and ``lion_ports.mlx.Lion``; ``lion_ports.reference`` is the specification
(docs/spec.md) as NumPy code.

>>> import lion_ports
>>> lion_ports.LionConfig(lr=3e-4, weight_decay=1.0).betas
(0.9, 0.99)
"""

from lion_ports.config import LionConfig
from lion_ports.errors import ConfigError, DtypeError, LionError, NonFiniteError, StateError
from lion_ports.presets import PRESETS, from_adamw
from lion_ports.state import PortableState, load_state, save_state

__all__ = [
    "PRESETS",
    "SPEC_VERSION",
    "ConfigError",
    "DtypeError",
    "LionConfig",
    "LionError",
    "NonFiniteError",
    "PortableState",
    "StateError",
    "from_adamw",
    "load_state",
    "save_state",
]

__version__ = "0.1.0"

SPEC_VERSION = "1.2"
"""The version of docs/spec.md that this package implements."""
