"""Lion (EvoLved Sign Momentum, Chen et al. 2023) for MLX, PyTorch and JAX behind one specification.

Importing this package imports no framework. The optimizers live in ``lion_ports.torch.Lion``,
``lion_ports.jax.lion`` and ``lion_ports.mlx.Lion``; ``lion_ports.reference`` is the specification
(docs/spec.md) as NumPy code.

>>> import lion_ports
>>> lion_ports.LionConfig(lr=3e-4, weight_decay=1.0).betas
(0.9, 0.99)
"""

from lion_ports.config import LionConfig as LionConfig
from lion_ports.errors import ConfigError as ConfigError
from lion_ports.errors import DtypeError as DtypeError
from lion_ports.errors import LionError as LionError
from lion_ports.errors import NonFiniteError as NonFiniteError
from lion_ports.errors import StateError as StateError
from lion_ports.presets import PRESETS as PRESETS
from lion_ports.presets import from_adamw as from_adamw
from lion_ports.state import PortableState as PortableState
from lion_ports.state import load_state as load_state
from lion_ports.state import save_state as save_state

__version__ = "0.1.0"

SPEC_VERSION = "1.1"
"""The version of docs/spec.md that this package implements."""
