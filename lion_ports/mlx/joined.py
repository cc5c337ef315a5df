"""Many small parameters of small state (L-031, L-032), updated as if they were one.

Such an update is dozens of operations, whose number is all that it costs where there are few
elements. Each parameter is filled up with zeros to whole blocks, so that it has its own scales, and
its elements keep their own numbers, by which they are rounded: the bits are those of each alone.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lion_ports.mlx import gpu_small
from lion_ports.mlx.group import Group
from lion_ports.mlx.scalars import Rounded
from lion_ports.mlx.storage import BLOCK, scale_count
from lion_ports.mlx.trees import Slots
from lion_ports.mlx.update import is_elementwise, is_large

# Elements that are joined at most: what is in memory meanwhile is some 30 bytes for each of them.
_MOST = 1 << 18


class Update(NamedTuple):
    """What an update is made of.

    Attributes:
        path: of the parameter.
        x: parameter.
        g: gradient that is due.
        slots: of the parameter.
        group: its settings.
        scalars: those of this step, in its compute dtype.
        moves: whether it is updated at all; None: it is.
        places: the number of each element in its own parameter, uint32; None: this is one alone.
    """

    path: str
    x: mx.array
    g: mx.array
    slots: Slots
    group: Group
    scalars: Rounded
    moves: mx.array | None
    places: mx.array | None = None


def alike(updates: Sequence[Update]) -> list[list[Update]]:
    """Those that can be joined, and all others each alone."""
    found: dict[object, list[Update]] = {}
    sizes = Counter[object]()
    for update in updates:
        kind = _kind(update)
        found.setdefault((kind, sizes[kind] // _MOST), []).append(update)
        sizes[kind] += update.x.size
    return list(found.values())


def joined(updates: Sequence[Update]) -> Update:
    """One update of all, flat; one alone stays as it is."""
    first = updates[0]
    if len(updates) == 1:
        return first
    slots = {name: _flat([u.slots[name] for u in updates], name) for name in _names(first)}
    x, g = _flat([u.x for u in updates]), _flat([u.g for u in updates])
    return first._replace(x=x, g=g, slots=slots, places=_places(updates))


def apart(updates: Sequence[Update], x: mx.array, slots: Slots) -> dict[str, mx.array]:
    """The new parameter of each by its path; the slots of each are brought forward.

    Args:
        updates: those that were joined.
        x: the new parameter that came of it.
        slots: those that came of it.
    """
    if len(updates) == 1:
        return {updates[0].path: x}
    for name, array in slots.items():
        for update, part in zip(updates, _parts(array, updates, name), strict=True):
            update.slots[name] = part
    return {u.path: part for u, part in zip(updates, _parts(x, updates), strict=True)}


def _kind(update: Update) -> object:
    """The same for those that can be joined."""
    path, x, g, slots, group, scalars, moves, _ = update
    small = "m_scale" in slots or "correction" in slots
    if (
        not small
        or not x.size
        or is_large(x)
        or not is_elementwise(group.rule)
        or gpu_small.takes(group.rule, x, g, slots)
    ):
        return path
    dtypes = tuple(slots[name].dtype for name in _names(update))
    # Scalars are those of one group. Gradients of several dtypes lose nothing in a common one.
    return id(scalars), id(moves), x.dtype, _names(update), dtypes


def _names(update: Update) -> tuple[str, ...]:
    """The slots that an update brings forward."""
    return tuple(n for n in ("m", "m_scale", "correction", "average") if n in update.slots)


def _flat(arrays: Sequence[mx.array], name: str = "") -> mx.array:
    """All elements one after another, those of each array filled up to whole blocks."""
    if name == "m_scale":
        return mx.concatenate(list(arrays))
    missing = {-a.size % BLOCK for a in arrays}
    zeros = {n: mx.zeros(n, arrays[0].dtype) for n in missing}
    return mx.concatenate([p for a in arrays for p in (a.reshape(-1), zeros[-a.size % BLOCK])])


def _parts(array: mx.array, updates: Sequence[Update], name: str = "") -> list[mx.array]:
    """What ``_flat`` joined."""
    ends = np.cumsum([scale_count(u.x.size) for u in updates])[:-1]
    if name == "m_scale":
        return list(mx.split(array, ends.tolist()))
    parts = mx.split(array, (ends * BLOCK).tolist())
    return [p[: u.x.size].reshape(u.x.shape) for p, u in zip(parts, updates, strict=True)]


def _places(updates: Sequence[Update]) -> mx.array:
    rows = np.array([scale_count(u.x.size) for u in updates])
    first = np.repeat(np.cumsum(rows) - rows, rows)  # block of the parameter that each block is of
    blocks = mx.array(((np.arange(rows.sum()) - first) * BLOCK).astype(np.uint32))
    return (blocks[:, None] + mx.arange(BLOCK, dtype=mx.uint32)).reshape(-1)
