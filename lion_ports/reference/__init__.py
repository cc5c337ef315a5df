"""The Lion specification as NumPy code. docs/spec.md numbers the rules that the comments cite.

Arrays may be float64, float32, float16, complex128, complex64 or ``ml_dtypes.bfloat16``. Nothing
here writes to its inputs; results are new arrays. In the order of a step: ``gradients`` (what is
done to them first), ``update`` (Lion itself), ``storage`` (what is kept in fewer bits),
``optimizer`` (the state around it); ``arithmetic`` is what all of them compute with.
"""

from lion_ports.reference.arithmetic import (
    BFLOAT16,
    as_complex,
    as_reals,
    compute_dtype,
    narrow,
    sign,
    widen,
)
from lion_ports.reference.gradients import clipped, effective_gradients
from lion_ports.reference.optimizer import averaged, init, step
from lion_ports.reference.state import State, export_state, import_state
from lion_ports.reference.storage import (
    BLOCK,
    copies,
    decode,
    dither,
    encode,
    join,
    load_momentum,
    load_parameter,
    split,
    store_momentum,
    store_parameter,
)
from lion_ports.reference.update import average, cautious, direction, lion_update

__all__ = [
    "BFLOAT16",
    "BLOCK",
    "State",
    "as_complex",
    "as_reals",
    "average",
    "averaged",
    "cautious",
    "clipped",
    "compute_dtype",
    "copies",
    "decode",
    "direction",
    "dither",
    "effective_gradients",
    "encode",
    "export_state",
    "import_state",
    "init",
    "join",
    "lion_update",
    "load_momentum",
    "load_parameter",
    "narrow",
    "sign",
    "split",
    "step",
    "store_momentum",
    "store_parameter",
    "widen",
]
