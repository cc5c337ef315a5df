"""What can be done with a checkpoint besides going on from it."""

from dataclasses import replace

from lion_ports.trainers.checkpoint import Checkpoint
from lion_ports.trainers.data import Text, load_text
from lion_ports.trainers.engine import Engine, build_engine
from lion_ports.trainers.errors import DataError
from lion_ports.trainers.loop import evaluation_loss


def restore(found: Checkpoint, backend: str | None) -> Engine:
    """An engine with the weights of a checkpoint, to sample from or to evaluate, on any device."""
    settings = replace(found.config.engine_settings(), device="auto")
    return build_engine(backend or found.config.backend, settings, found.parameters)


def evaluate(found: Checkpoint, backend: str | None) -> float:
    """The validation loss of a checkpoint on its own data, nats a byte.

    Raises:
        DataError: if the data are not those of the run any more.
    """
    config = found.config
    text = load_text(config.data, sequence=config.sequence, held_out=config.held_out)
    check_data(found, text)
    return evaluation_loss(restore(found, backend), config, text)


def check_data(found: Checkpoint, text: Text) -> None:
    """Raise a DataError unless ``text`` is what the checkpoint was trained on."""
    then, now = found.state.data_sha256, text.sha256
    if then != now:
        raise DataError(
            f"the data {found.config.data} are not what the run was trained on: their sha256 is "
            f"{now[:12]}, and it was {then[:12]}"
        )
