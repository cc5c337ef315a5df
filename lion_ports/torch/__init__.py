"""Lion for PyTorch: ``lion_ports.torch.Lion``."""

from lion_ports.torch.arithmetic import lion_update as lion_update
from lion_ports.torch.optimizer import Lion as Lion
