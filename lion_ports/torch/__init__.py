"""Lion for PyTorch: ``lion_ports.torch.Lion``."""

from lion_ports.torch.arithmetic import lion_update_ as lion_update_
from lion_ports.torch.optimizer import Lion as Lion
