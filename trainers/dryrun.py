"""``--dry-run``: everything that a run does before and in its first steps, with nothing written."""

import time
from pathlib import Path

from lion_ports.trainers import runs, session
from lion_ports.trainers.batches import training_batch
from lion_ports.trainers.config import TrainConfig
from lion_ports.trainers.describe import describe
from lion_ports.trainers.errors import TrainingNonFiniteError
from lion_ports.trainers.progress import duration, peak_memory
from lion_ports.trainers.slots import DTYPES, state_bytes

_TIMED = 3


def dry_run(config: TrainConfig, out: Path | None) -> int:
    """Check settings, data, backend and folder; take a few steps; print what a run would take.

    Raises:
        TrainError: what the run would have raised before its first step.
    """
    runs.check(out or runs.default_folder(session.backend_of(config), config.seed))
    ready = session.prepare(config)
    config = ready.config
    for line in describe(config, ready.text, ready.init_sha256, ready.engine.device):
        print(line)
    for note in ready.engine.notes:
        print(note)
    for name, tensor in ready.parameters.items():
        print(f"           {name:36} {' x '.join(map(str, tensor.shape)):>12} {tensor.size:>12,}")
    count = config.architecture().parameter_count()
    held = 2 * count * DTYPES[config.dtype].itemsize + state_bytes(config.engine_settings())
    print(f"memory     {held / 1e6:,.1f} MB for weights, gradients and optimizer state, ", end="")
    print("activations apart")
    seconds, losses = [], []
    for step in range(_TIMED):
        tokens = training_batch(
            ready.text.train,
            seed=config.seed,
            step=step,
            batch_size=config.batch_size,
            sequence=config.sequence,
        )
        begun = time.perf_counter()
        result = ready.engine.train_step(tokens, 0.0)
        seconds.append(time.perf_counter() - begun)
        losses.append(result.loss)
        if result.nonfinite:
            raise TrainingNonFiniteError(f"the gradient of {result.nonfinite[0]} is not finite")
    print(f"first step loss {losses[0]:.4f}, {seconds[0]:.1f} s with compilation")
    total = seconds[0] + min(seconds) * config.steps
    print(f"estimate   {1000 * min(seconds):.0f} ms a step, {duration(total)} in all, ", end="")
    print(f"evaluations apart; {peak_memory() / 1e9:.1f} GB of memory at the peak")
    print("dry run    nothing was written")
    return 0
