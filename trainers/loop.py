"""The training loop. It knows no framework: everything it asks of one is in ``Engine``."""

import math
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lion_ports import SPEC_VERSION
from lion_ports.trainers import checkpoint, runs
from lion_ports.trainers.batches import evaluation_batches, training_batch
from lion_ports.trainers.config import TrainConfig
from lion_ports.trainers.data import Text
from lion_ports.trainers.engine import Engine, StepResult
from lion_ports.trainers.errors import TrainingNonFiniteError
from lion_ports.trainers.metrics import Metrics
from lion_ports.trainers.progress import Progress, Reporter
from lion_ports.trainers.recording import Recorder
from lion_ports.trainers.schedule import learning_rate
from lion_ports.trainers.signals import StopSignals

_RECENT = 20


@dataclass
class Loop:
    """One stretch of training, from ``step`` to ``config.steps``, in the folder of its run.

    ``lineage`` are the stretches before this one; ``stretch`` describes this one and is completed
    with its last step in each checkpoint; ``eval_loss`` is that of ``step``, if it is known.
    """

    config: TrainConfig
    folder: Path
    engine: Engine
    text: Text
    metrics: Metrics
    reporter: Reporter
    recorder: Recorder
    init_sha256: str
    stretch: dict[str, Any]
    lineage: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    updates: int = 0
    eval_loss: float | None = None

    def run(self, signals: StopSignals) -> float | None:
        """Train to the end, or to a signal; the last validation loss, None after a signal.

        Raises:
            TrainingNonFiniteError: with ``nonfinite = "stop"``; the weights before the step have
                been saved.
        """
        config = self.config
        loss = self._evaluate() if self.step == 0 else self.eval_loss
        if self.engine.first_step and self.step < config.steps:
            self.reporter.say(f"first step {self.engine.first_step}")
        seconds: deque[float] = deque(maxlen=_RECENT)
        while self.step < config.steps and signals.received is None:
            begun = time.perf_counter()
            result, lr = self._update()
            seconds.append(time.perf_counter() - begun)
            self._record(result, lr, seconds)
            last = self.step == config.steps
            loss = None
            if last or self.step % config.eval_every == 0:
                loss = self._evaluate()
            if last or self.step % config.save_every == 0:
                self.save(loss)
        if signals.received is not None:
            self.save(loss)
            return None
        return self._evaluate() if loss is None else loss

    def save(self, eval_loss: float | None) -> Path:
        """Write the checkpoint of the current step and remove those that are not kept."""
        folder = self.folder / runs.CHECKPOINTS
        path = checkpoint.place(folder, self.step)
        if checkpoint.is_complete(path):
            return path
        state = checkpoint.State(
            step=self.step,
            updates=self.updates,
            config=self.config.model_dump(mode="json"),
            spec_version=SPEC_VERSION,
            init_sha256=self.init_sha256,
            data_sha256=self.text.sha256,
            eval_loss=eval_loss if eval_loss is not None and math.isfinite(eval_loss) else None,
            lineage=[*self.lineage, self.stretch | {"to": self.step}],
        )
        # The metrics first: a checkpoint on the disk means that the lines before it are there.
        self.metrics.sync()
        checkpoint.save(folder, state, self.engine.parameters(), self.engine.optimizer_state())
        runs.write_checkpoint_event(self.metrics, self.folder, path, self.step)
        checkpoint.prune(folder, self.config.keep)
        return path

    def _update(self) -> tuple[StepResult, float]:
        config = self.config
        lr = learning_rate(
            self.step,
            peak=config.lr,
            steps=config.steps,
            warmup=config.warmup,
            schedule=config.schedule,
            floor=config.floor,
        )
        tokens = training_batch(
            self.text.train,
            seed=config.seed,
            step=self.step,
            batch_size=config.batch_size,
            sequence=config.sequence,
        )
        result = self.engine.train_step(tokens, lr, self.recorder.open)
        if result.nonfinite:
            self._nonfinite(result.nonfinite[0])
        else:
            self.updates += 1
            self.recorder.add(result.gradients, lr)
        return result, lr

    def _nonfinite(self, name: str) -> None:
        what = f"the gradient of {name} is not finite at step {self.step}; nothing was updated"
        self.metrics.write("warning", self.step, message=what, tensor=name)
        if self.config.nonfinite == "skip":
            self.reporter.warn(what)
            return
        self.save(None)
        raise TrainingNonFiniteError(
            f"{what}, and the weights before it are saved; to meet it again: "
            f"{runs.resume_command(self.folder)}; to train past it, start with --nonfinite skip "
            "or a lower --lr"
        )

    def _record(self, result: StepResult, lr: float, seconds: deque[float]) -> None:
        tokens = self.config.batch_size * self.config.sequence
        self.metrics.write(
            "train",
            self.step,
            loss=result.loss,
            lr=lr,
            grad_norm=result.grad_norm,
            tokens_per_s=tokens / seconds[-1],
            ms=1000 * seconds[-1],
        )
        self.step += 1
        usual = statistics.median(seconds)  # which the first step, that compiles, does not move
        self.reporter.step(
            Progress(
                self.step,
                self.config.steps,
                result.loss,
                lr,
                result.grad_norm,
                tokens / usual,
                1000 * usual,
            )
        )

    def _evaluate(self) -> float:
        loss = evaluation_loss(self.engine, self.config, self.text)
        self.metrics.write("eval", self.step, loss=loss)
        self.reporter.say(f"step {self.step:05d} validation loss {loss:.4f}")
        if not math.isfinite(loss):
            self.reporter.warn(
                f"the validation loss at step {self.step} is not finite: the updates before it "
                "have overflowed the weights; train with a lower --lr or --weight-decay"
            )
        return loss


def evaluation_loss(engine: Engine, config: TrainConfig, text: Text) -> float:
    """Mean loss on the fixed validation windows, nats a byte."""
    batches = evaluation_batches(
        text.validation,
        batches=config.eval_batches,
        batch_size=config.batch_size,
        sequence=config.sequence,
    )
    return float(np.mean([engine.loss(batch) for batch in batches]))
