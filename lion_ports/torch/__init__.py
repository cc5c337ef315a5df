"""Lion for PyTorch: ``lion_ports.torch.Lion``."""

from lion_ports.torch.optimizer import Lion as Lion
from lion_ports.torch.update import lion_update_ as lion_update_
