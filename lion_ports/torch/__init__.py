"""Lion for PyTorch: ``lion_ports.torch.Lion``."""

from lion_ports.torch.optimizer import Lion
from lion_ports.torch.release import release_gradients
from lion_ports.torch.state import export_state, import_state
from lion_ports.torch.update import lion_update_

__all__ = [
    "Lion",
    "export_state",
    "import_state",
    "lion_update_",
    "release_gradients",
]
