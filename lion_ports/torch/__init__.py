"""Lion for PyTorch: ``lion_ports.torch.Lion``."""

from lion_ports.torch.optimizer import Lion as Lion
from lion_ports.torch.release import release_gradients as release_gradients
from lion_ports.torch.state import export_state as export_state
from lion_ports.torch.state import import_state as import_state
from lion_ports.torch.update import lion_update_ as lion_update_
