"""Many tensors, and what is to be known of each of them.

One call of C finds a fact out for a whole column: for a small parameter a few lines of Python would
take longer than its arithmetic.
"""

from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate
from operator import attrgetter, eq
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.torch.arithmetic import PLAIN
from lion_ports.torch.cpu_table import has_kernel

if TYPE_CHECKING:
    from lion_ports.torch.dlpack import Description

_DTYPE, _DEVICE, _LAYOUT = map(attrgetter, ("dtype", "device", "layout"))
FACTS = (type, _DTYPE, _DEVICE, Tensor.is_contiguous, Tensor.is_neg)
"""All that a kernel looks at in a contiguous tensor but its shape."""

# From so many tensors on all are described at once, where Numba is installed.
_MANY = 32


def has_memory(t: Tensor | None) -> bool:
    """Whether a tensor of torch's own classes has memory for its elements.

    What is None, or on the meta device, needs none, and what other classes need is their own.

    >>> has_memory(torch.ones(2)), has_memory(torch._efficientzerotensor(2))
    (True, False)
    """
    if t is None or type(t) not in PLAIN or t.is_meta or t.layout != torch.strided:
        return True
    return t.data_ptr() != 0 or t.numel() == 0


def overlaps(t: Tensor) -> bool:
    """Whether elements of a tensor of torch's own classes share their memory, by an expansion.

    >>> overlaps(torch.ones(1, 3).expand(2, 3)), overlaps(torch.ones(2, 3).mT)
    (True, False)
    """
    if type(t) not in PLAIN or t.is_contiguous():
        return False
    return any(step == 0 < size - 1 for step, size in zip(t.stride(), t.shape, strict=True))


class Column(list[Any]):
    """Tensors, which stay as they are while the column is used; or None in place of some.

    Args:
        tensors: any number of them.
    """

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> "Column":
        """The tensors themselves, if they are a column."""
        return tensors if isinstance(tensors, cls) else cls(tensors)

    @property
    def plain(self) -> bool:
        """Whether all are tensors of torch's own classes; others may have no memory."""
        return set(map(type, self)) <= PLAIN

    @property
    def strided(self) -> bool:
        """Whether all have strides: none is sparse."""
        return self._description is not None or set(map(_LAYOUT, self)) <= {torch.strided}

    @property
    def dtypes(self) -> set[torch.dtype]:
        """All that there are."""
        if self._description is not None and self._description.alike:
            return {self[0].dtype}
        return set(map(_DTYPE, self))

    @property
    def in_memory(self) -> bool:
        """Whether each has memory: zeros of autograd may have none, or it was given back."""
        if self._description is not None and self._description.addresses.all():
            return True
        quick = self.plain and self.strided and all(map(Tensor.data_ptr, self))
        return quick or all(map(has_memory, self))

    @property
    def overlapping(self) -> bool:
        """Whether elements of one of them share their memory."""
        contiguous = self._description is not None and self._description.alike
        return not (contiguous or all(map(Tensor.is_contiguous, self))) and any(map(overlaps, self))

    @property
    def alike(self) -> bool:
        """Whether one kernel takes them all, if it takes the first."""
        if self._description is not None:
            one_kind = self._description.alike
        else:
            one_kind = self.plain and all(len(set(map(of, self))) == 1 for of in (_DTYPE, _DEVICE))
            one_kind = one_kind and all(map(Tensor.is_contiguous, self))
        return one_kind and not any(map(Tensor.is_neg, self))

    def same_devices(self, other: "Column") -> bool:
        """Whether each is on the device of the one beside it."""
        if self._description is not None and other._description is not None:
            return self._description.same_devices(other._description)
        return all(map(eq, map(_DEVICE, self), map(_DEVICE, other)))

    def same_shapes(self, other: "Column") -> bool:
        """Whether each has the shape of the one beside it."""
        if self._description is not None and other._description is not None:
            return self._description.same_shapes(other._description)
        # One pair after another: of ten thousand shapes that are kept, Python collects its garbage.
        return all(map(eq, map(Tensor.size, self), map(Tensor.size, other)))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many elements each has."""
        return np.diff(self.starts)

    @property
    def starts(self) -> NDArray[np.int64]:
        """The number of elements before each, and in all of them."""
        if self._description is not None:
            return self._description.starts
        sizes = accumulate(map(Tensor.numel, self), initial=0)
        return np.fromiter(sizes, np.int64, len(self) + 1)

    @property
    def addresses(self) -> NDArray[np.int64]:
        """Where each begins."""
        if self._description is not None:
            return self._description.addresses
        return np.fromiter(map(Tensor.data_ptr, self), np.int64, len(self))

    @property
    def _description(self) -> "Description | None":
        """What DLPack says of them, if it is asked."""
        return None if len(self) < _MANY else self._description_of_many

    @cached_property
    def _description_of_many(self) -> "Description | None":
        if not self.plain or not has_kernel():
            return None
        from lion_ports.torch.dlpack import described

        return described(self)
