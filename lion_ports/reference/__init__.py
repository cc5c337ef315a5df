"""The Lion specification as NumPy code. docs/spec.md numbers the rules that the comments cite.

Arrays may be float64, float32, float16, complex128, complex64 or ``ml_dtypes.bfloat16``. Nothing
here writes to its inputs; results are new arrays. In the order of a step: ``gradients`` (what is
done to them first), ``update`` (Lion itself), ``optimizer`` (the state around it); ``arithmetic``
is what all of them compute with.
"""

from lion_ports.reference.arithmetic import BFLOAT16 as BFLOAT16
from lion_ports.reference.arithmetic import as_complex as as_complex
from lion_ports.reference.arithmetic import as_reals as as_reals
from lion_ports.reference.arithmetic import compute_dtype as compute_dtype
from lion_ports.reference.arithmetic import narrow as narrow
from lion_ports.reference.arithmetic import sign as sign
from lion_ports.reference.arithmetic import widen as widen
from lion_ports.reference.gradients import clipped as clipped
from lion_ports.reference.gradients import effective_gradients as effective_gradients
from lion_ports.reference.optimizer import averaged as averaged
from lion_ports.reference.optimizer import init as init
from lion_ports.reference.optimizer import step as step
from lion_ports.reference.state import State as State
from lion_ports.reference.state import export_state as export_state
from lion_ports.reference.state import import_state as import_state
from lion_ports.reference.update import average as average
from lion_ports.reference.update import cautious as cautious
from lion_ports.reference.update import direction as direction
from lion_ports.reference.update import lion_update as lion_update
