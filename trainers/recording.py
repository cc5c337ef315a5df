"""``--record-gradients``: what the optimizer was given in the first steps of a run."""

from collections.abc import Mapping
from pathlib import Path

from lion_ports.streams import GradientStream, save_stream
from lion_ports.trainers.architecture import decays
from lion_ports.trainers.config import TrainConfig
from lion_ports.trainers.engine import Tensors

GRADIENTS = "gradients.safetensors"


class Recorder:
    """Keeps the gradients of the first updates in memory, and writes them as one file.

    A step that was skipped as non-finite is none of them: the optimizer never saw it.

    Args:
        folder: of the run.
        config: its settings; ``record_gradients`` updates are kept.
        parameters: before the first step, in the dtype that is trained.
        source: what is said in the file of where it comes from.
    """

    def __init__(
        self, folder: Path, config: TrainConfig, parameters: Tensors, source: Mapping[str, str]
    ) -> None:
        self._path = folder / GRADIENTS
        self._config = config
        self._parameters = parameters
        self._source = source
        self._gradients: list[Tensors] = []
        self._rates: list[float] = []
        self.open = config.record_gradients > 0

    def add(self, gradients: Tensors | None, lr: float) -> None:
        """Keep those of one update, if they were asked for; after the last, write the file."""
        if not self.open or gradients is None:
            return
        self._gradients.append(gradients)
        self._rates.append(lr)
        if len(self._rates) == self._config.record_gradients:
            self.close()

    def close(self) -> None:
        """Write what there is, unless that has been done."""
        if self.open and self._gradients:
            stream = GradientStream(
                self._parameters,
                self._gradients,
                self._rates,
                self._config.betas,
                self._config.weight_decay,
                [name for name, x in self._parameters.items() if not decays(x.shape)],
                self._source,
            )
            save_stream(self._path, stream)
        self.open = False
        self._gradients = []
