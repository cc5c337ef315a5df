"""``lion_ports.torch.Lion`` over named arrays."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from lion_ports import PortableState
from lion_ports.torch import Lion
from lion_ports.torch.state import export_state, from_numpy, import_state


class Side:
    def __init__(
        self, xs: Mapping[str, Any], *, exclude: Collection[str] = (), **settings: Any
    ) -> None:
        self.named = [(name, torch.nn.Parameter(from_numpy(x))) for name, x in xs.items()]
        decays: list[Any] = [{"params": [pair]} for pair in self.named if pair[0] not in exclude]
        exempt = [
            {"params": [pair], "weight_decay": 0.0} for pair in self.named if pair[0] in exclude
        ]
        self.optimizer = Lion(decays + exempt, **settings)

    def step(self, gs: Mapping[str, Any]) -> None:
        for name, p in self.named:
            p.grad = None if gs[name] is None else from_numpy(gs[name])
        self.optimizer.step()

    def state(self) -> PortableState:
        return export_state(self.named, self.optimizer)

    def restore(self, state: PortableState) -> None:
        import_state(state, self.named, self.optimizer)
