"""From settings to a trained run: a new one, or one that goes on."""

import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from lion_ports.errors import install_command
from lion_ports.trainers import metrics, plot, runs
from lion_ports.trainers.checkpoint import Checkpoint
from lion_ports.trainers.config import TrainConfig, sentences
from lion_ports.trainers.data import STDLIB, Text, load_text
from lion_ports.trainers.describe import describe, versions
from lion_ports.trainers.engine import Engine, Tensors, best_backend, build_engine
from lion_ports.trainers.errors import DataError, UsageError
from lion_ports.trainers.init import digest, initial_parameters
from lion_ports.trainers.loop import Loop
from lion_ports.trainers.progress import Reporter, duration, reporter
from lion_ports.trainers.recording import Recorder
from lion_ports.trainers.sampling import generate, printable
from lion_ports.trainers.saved import check_data
from lion_ports.trainers.signals import StopSignals


class Prepared(NamedTuple):
    """All that is needed before step 0, and nothing written yet."""

    config: TrainConfig
    text: Text
    parameters: Tensors
    init_sha256: str
    engine: Engine


def prepare(config: TrainConfig) -> Prepared:
    """Fix the backend, read and check the data, make the weights and the engine.

    Raises:
        TrainError: whatever is wrong; nothing has been written.
    """
    where = config.data if config.data == STDLIB else str(Path(config.data).absolute())
    config = config.model_copy(update={"backend": backend_of(config), "data": where})
    text = load_text(config.data, sequence=config.sequence, held_out=config.held_out)
    parameters = initial_parameters(config.architecture(), config.seed)
    engine = build_engine(config.backend, config.engine_settings(), parameters)
    return Prepared(config, text, dict(parameters), digest(parameters), engine)


def backend_of(config: TrainConfig) -> str:
    """The backend that ``config`` names, or the best of those that are installed."""
    return best_backend() if config.backend == "auto" else config.backend


def train(config: TrainConfig, out: Path | None, *, quiet: bool) -> int:
    """A new run. Returns the exit code: 0, or 130 and 143 after a signal.

    Raises:
        TrainError: with a sentence for the user; its class has the exit code.
    """
    with StopSignals() as signals:
        runs.check(out or runs.default_folder(backend_of(config), config.seed))
        ready = prepare(config)
        folder = runs.create(out, ready.config.backend, config.seed)
        with runs.locked(folder):
            runs.write_config(folder, ready.config)
            return _stretch(ready, folder, None, signals, quiet=quiet)


def resume(
    folder: Path, *, backend: str | None, device: str | None, steps: int | None, quiet: bool
) -> int:
    """Go on from the newest checkpoint of ``folder``, or from its start if it has none.

    On the same backend and machine every later step is bitwise what it would have been. Another
    backend takes over weights, optimizer state and the place in the data. ``steps`` changes the
    length of the run and, with it, the schedule from here on. No other setting can change.

    Raises:
        TrainError: as ``train``; a damaged checkpoint is a DataError.
    """
    if not (folder / runs.CONFIG).exists():
        raise DataError(f"{folder} is not a run folder: it has no {runs.CONFIG}")
    with StopSignals() as signals, runs.locked(folder):
        found = runs.latest(folder)
        config = _moved(runs.agreed_config(folder, found), backend, device, steps)
        if found and found.state.step > config.steps:
            raise UsageError(
                f"steps = {config.steps}: the run is already at step {found.state.step}"
            )
        ready = prepare(config)
        if found:
            check_data(found, ready.text)
        runs.cut_metrics(folder, found)
        runs.write_config(folder, ready.config)
        return _stretch(ready, folder, found, signals, quiet=quiet)


def _moved(
    saved: TrainConfig, backend: str | None, device: str | None, steps: int | None
) -> TrainConfig:
    if backend and backend != saved.backend:
        device = device or "auto"
    return changed(saved, backend=backend, device=device, steps=steps)


def changed(saved: TrainConfig, **values: Any) -> TrainConfig:
    """``saved`` with those of ``values`` that are not None.

    Raises:
        UsageError: saying what is wrong with them.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return TrainConfig.model_validate(saved.model_dump() | given)
    except ValidationError as error:
        raise UsageError(*sentences(error, {})) from None


def _stretch(
    ready: Prepared, folder: Path, found: Checkpoint | None, signals: StopSignals, *, quiet: bool
) -> int:
    config, engine = ready.config, ready.engine
    begun = time.perf_counter()
    report = reporter(quiet=quiet, steps=config.steps, every=config.log_every)
    log = metrics.Metrics(folder / runs.METRICS)
    step = found.state.step if found else 0
    recorder = _recorder(ready, folder, step)
    loop = Loop(
        config=config,
        folder=folder,
        engine=engine,
        text=ready.text,
        metrics=log,
        reporter=report,
        recorder=recorder,
        init_sha256=ready.init_sha256,
        stretch={
            "backend": config.backend,
            "device": engine.device,
            "versions": versions(config.backend),
            "from": step,
        },
        lineage=found.state.lineage if found else [],
        step=step,
        updates=found.state.updates if found else 0,
        eval_loss=found.state.eval_loss if found else None,
    )
    try:
        if found:
            engine.load(found.parameters, found.optimizer_state, found.state.updates)
        _start(loop, report)
        loss = loop.run(signals)
        if loss is None:
            report.close()
            again = runs.resume_command(folder)
            report.warn(f"stopped and saved at step {loop.step}; to go on: {again}")
            return signals.exit_code()
        _finish(loop, report, loss, time.perf_counter() - begun)
    finally:
        recorder.close()
        report.close()
        log.close()
    return 0


def _recorder(ready: Prepared, folder: Path, step: int) -> Recorder:
    """Of a run's first stretch; one that goes on leaves the file as it is."""
    config = ready.config if step == 0 else ready.config.model_copy(update={"record_gradients": 0})
    source = {
        "backend": config.backend,
        "device": ready.engine.device,
        "versions": ", ".join(" ".join(pair) for pair in versions(config.backend).items()),
        "data_sha256": ready.text.sha256,
        "init_sha256": ready.init_sha256,
    }
    parameters = ready.engine.parameters() if config.record_gradients else {}
    return Recorder(folder, config, parameters, source)


def _start(loop: Loop, report: Reporter) -> None:
    """Print every derived number, and write the ``start`` event."""
    config, text = loop.config, loop.text
    count = config.architecture().parameter_count()
    loop.metrics.write(
        "start",
        loop.step,
        backend=config.backend,
        device=loop.engine.device,
        versions=loop.stretch["versions"],
        parameters=count,
        init_sha256=loop.init_sha256,
        data_sha256=text.sha256,
        optimizer=config.optimizer,
        seed=config.seed,
    )
    for line in describe(config, text, loop.init_sha256, loop.engine.device):
        report.say(line)
    report.say(f"run        {loop.folder}")
    for note in loop.engine.notes:
        report.warn(note)
    if loop.step:
        report.say(f"resumed    at step {loop.step}; {config.steps - loop.step} steps to go")


def _finish(loop: Loop, report: Reporter, loss: float, seconds: float) -> None:
    """The ``end`` event, the picture, the sample, and what to type next.

    Raises:
        TrainingNonFiniteError: if there is no sample, because the weights have overflowed.
    """
    config = loop.config
    loop.metrics.write("end", loop.step, loss=loss, seconds=seconds)
    try:
        plot.plot_runs([loop.folder], loop.folder / runs.PLOT)
    except ImportError as error:
        report.warn(f"{runs.PLOT} is not drawn ({error}): {install_command('train')}")
    except DataError as error:
        report.warn(f"{runs.PLOT} is not drawn: {error}")
    sample = generate(
        loop.engine,
        config.prompt.encode(),
        count=config.sample_bytes,
        sequence=config.sequence,
        temperature=config.temperature,
        seed=config.seed,
    )
    text = sample.decode("utf-8", "replace")
    loop.metrics.write("sample", loop.step, prompt=config.prompt, text=text)
    report.close()
    if config.sample_bytes:
        report.say(f"--- sample ---\n{config.prompt}{printable(sample)}\n---")
    report.say(
        f"done       {loop.step} steps in {duration(seconds)}: validation loss {loss:.4f} "
        "nats a byte"
    )
    report.say(f"run        {loop.folder} ({runs.METRICS}, {runs.PLOT}, {runs.CHECKPOINTS}/)")
    run = shlex.quote(str(loop.folder))
    report.say(f"next       lion-train sample {run} --prompt {shlex.quote(config.prompt)}")
