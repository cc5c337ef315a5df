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

    Several runs get a second panel with the distance of each training loss from the first run's.

    Raises:
        DataError: if a run has no losses yet.
    """
    from matplotlib.figure import Figure

    events = [metrics.read(run / "metrics.jsonl") for run in runs]
    several = len(runs) > 1
    figure = Figure(figsize=(8, 7 if several else 5), dpi=120, layout="constrained")
    heights = (3, 2) if several else (1,)
    panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[
        :, 0
    ]
    if several:
        for number, (run, log) in enumerate(zip(runs, events, strict=True)):
            # Runs that coincide lie on top of each other: the later, the thinner.
            width = 1.5 + 2.5 * (len(runs) - 1 - number)
            _draw(panels[0], log, run, f"{run.name}: ", (f"C{number}", f"C{number}"), width)
        panels[0].set_title(f"Losses of {len(runs)} runs")
        _draw_distances(panels[1], events, runs)
    else:
        _draw(panels[0], events[0], runs[0], "", ("C0", "C1"), 1.5)
        panels[0].set_title(_title(events[0], runs[0]))
    panels[0].set_ylabel("loss (nats per byte)")
    panels[-1].set_xlabel("step (updates done)")
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    replace_file(target, picture.getvalue())


def _losses(events: list[dict[str, Any]], kind: str) -> dict[int, float]:
    """Loss by step; a loss that was not finite stands as null in the records."""
    return {e["step"]: e["loss"] for e in events if e["event"] == kind and e["loss"] is not None}


def _draw(
    axes: Any,
    events: list[dict[str, Any]],
    run: Path,
    prefix: str,
    colours: tuple[str, str],
    width: float,
) -> None:
    train, validation = _losses(events, "train"), _losses(events, "eval")
    if not train:
        raise DataError(f"{run} has no training losses yet")
    label = "" if prefix else "training"
    axes.plot(train.keys(), train.values(), color=colours[0], lw=width / 2, alpha=0.6, label=label)
    if validation:
        axes.plot(
            validation.keys(),
            validation.values(),
            "o-",
            color=colours[1],
            lw=width,
            ms=3 + width,
            label=f"{prefix}validation",
        )


def _draw_distances(axes: Any, events: list[list[dict[str, Any]]], runs: Sequence[Path]) -> None:
    first = _losses(events[0], "train")
    for number, (run, log) in enumerate(zip(runs[1:], events[1:], strict=True), start=1):
        other = _losses(log, "train")
        both = [step for step in first if step in other]
        distances = [abs(other[step] - first[step]) for step in both]
        axes.plot(both, distances, color=f"C{number}", lw=1, label=f"{run.name} - {runs[0].name}")
    # Logarithmic, down to the last bits of a float32 loss; equal losses stand at zero.
    axes.set_yscale("symlog", linthresh=1e-7)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("distance of training losses")


def _title(events: list[dict[str, Any]], run: Path) -> str:
    start = next((event for event in events if event["event"] == "start"), {})
    backends = dict.fromkeys(event["backend"] for event in events if event["event"] == "start")
    count = f"{start.get('parameters', 0):,} parameters"
    return f"{run.name}: {start.get('optimizer')} on {' then '.join(backends)}, {count}"
