"""``loss.png``: the losses of one run, or of several in one picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lion_ports.trainers import metrics
from lion_ports.trainers.errors import DataError
from lion_ports.trainers.files import replace_file


def plot_runs(runs: Sequence[Path], target: Path) -> None:
    """Draw training (thin) and validation (dots) losses of ``runs`` into the PNG ``target``.

    Raises:
        DataError: if a run has no losses yet.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, run in enumerate(runs):
        events = metrics.read(run / "metrics.jsonl")
        if len(runs) == 1:
            _draw(axes, events, run, "", ("C0", "C1"))
            axes.set_title(_title(events, run))
        else:
            _draw(axes, events, run, f"{run.name}: ", (f"C{number}", f"C{number}"))
    if len(runs) > 1:
        axes.set_title(f"Losses of {len(runs)} runs")
    axes.set_xlabel("step (updates done)")
    axes.set_ylabel("loss (nats per byte)")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    replace_file(target, picture.getvalue())


def _draw(
    axes: Any, events: list[dict[str, Any]], run: Path, prefix: str, colours: tuple[str, str]
) -> None:
    train = [(e["step"], e["loss"]) for e in events if e["event"] == "train" and e["loss"]]
    validation = [(e["step"], e["loss"]) for e in events if e["event"] == "eval" and e["loss"]]
    if not train:
        raise DataError(f"{run} has no training losses yet")
    axes.plot(
        *zip(*train, strict=True), color=colours[0], lw=0.8, alpha=0.6, label=f"{prefix}training"
    )
    if validation:
        axes.plot(
            *zip(*validation, strict=True),
            "o-",
            color=colours[1],
            ms=4,
            label=f"{prefix}validation",
        )


def _title(events: list[dict[str, Any]], run: Path) -> str:
    start = next((event for event in events if event["event"] == "start"), {})
    backends = dict.fromkeys(event["backend"] for event in events if event["event"] == "start")
    count = f"{start.get('parameters', 0):,} parameters"
    return f"{run.name}: {start.get('optimizer')} on {' then '.join(backends)}, {count}"
