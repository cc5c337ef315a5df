"""The bars of one step or of training; points, where the longest would hide the others."""

from typing import Any, NamedTuple

from lion_ports.cli.bench.catalog import HAND_WRITTEN
from lion_ports.cli.bench.colours import DARK, GREY, OURS
from lion_ports.cli.bench.figures import without_options
from lion_ports.cli.bench.printed import (
    conditions,
    counted,
    number,
    step_title,
    times,
    training_title,
)

MOST = 30
"""Of times the least value that bars are drawn to, from zero."""


class Bar(NamedTuple):
    """``label`` stands beside the bar, ``spread`` are the quartiles."""

    name: str
    ours: bool
    value: float
    spread: tuple[float, float]
    label: str


def measured(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Slowest first: bars are drawn from the bottom."""
    entries = [e for e in result["cases"][0]["contenders"] if e["status"] == "measured"]
    return sorted(entries, key=lambda e: -float(e["ms"]["median"]))


def steps(axes: Any, document: dict[str, Any], result: dict[str, Any]) -> None:
    """Milliseconds, and how many times as fast as the baseline, or else as without options."""
    case = result["cases"][0]
    entries = measured(result)
    one = result["baseline"]
    ratios = {e["name"]: e["times_baseline"] for e in entries}
    if not any(ratios.values()):
        heading, beside = without_options(case)
        one, ratios = heading.removeprefix("vs "), {**ratios, **beside}
    bars = []
    for e in entries:
        ratio = times(ratios[e["name"]])
        label = f"{number(e['ms']['median'])} ms" + (ratio and f"  ({ratio})")
        bars.append(_bar(e, e["ms"], e["ours"], label))
    _draw(axes, bars, "ms")
    lion = 5 * {"float64": 8, "float32": 4}.get(document["settings"]["dtype"], 2)
    limit = lion * case["parameters"] / 1e6 / case["bandwidth"]["gb_per_second"]
    low, high = axes.get_xlim()
    if low < limit < high:  # what fits in the cache goes faster
        axes.axvline(limit, color=DARK, lw=1, ls="--")
        axes.text(limit, len(bars) - 0.4, f" {lion} bytes a parameter at the bandwidth",
                  color=DARK, fontsize=8, va="bottom")  # fmt: skip
    words = f"; {one} = 1x" if any(ratios.values()) else ""
    _title(axes, step_title(result), conditions(document["settings"]) + words, pad=18)


def trainings(axes: Any, document: dict[str, Any], result: dict[str, Any]) -> None:
    """Tokens a second."""
    case = result["cases"][0]
    entries = [e for e in measured(result) if "tokens_per_second" in e]
    bars = []
    for e in entries:
        rate = e["tokens_per_second"]
        own = e["ours"] and not e["name"].startswith(HAND_WRITTEN)
        bars.append(_bar(e, rate, own, f"{rate['median']:,.0f} tokens/s"))
    _draw(axes, bars, "tokens a second")
    share = case["optimizer_share"]
    words = "" if share is None else f"; the optimizer takes {share:.1%} of a step"
    on = f"{counted(case['tensors'], 'tensor')}, {conditions(document['settings'])}"
    _title(axes, training_title(result), on + words, pad=8)


def _bar(entry: dict[str, Any], spread: dict[str, Any], ours: bool, label: str) -> Bar:
    median = spread["median"]
    return Bar(entry["name"], ours, median, (median - spread["q1"], spread["q3"] - median), label)


def _title(axes: Any, first: str, second: str, pad: int) -> None:
    axes.set_title(f"{first}\n{second}", loc="left", fontsize=10, pad=pad)


def _draw(axes: Any, bars: list[Bar], unit: str) -> None:
    """Bars with their names to the left and their figures beside them.

    On a logarithmic axis, which has no zero for a bar to begin at, they are points.
    """
    places = list(range(len(bars)))
    values = [bar.value for bar in bars]
    colours = [OURS[0] if bar.ours else GREY for bar in bars]
    ends = [bar.value + bar.spread[1] for bar in bars]
    spreads = list(zip(*(bar.spread for bar in bars), strict=True)) or None
    axes.errorbar(values, places, xerr=spreads, fmt="none", ecolor=DARK, elinewidth=0.8,
                  capsize=2, zorder=3)  # fmt: skip
    if bars and max(values) > MOST * min(values):
        least = min(bar.value - bar.spread[0] for bar in bars)
        reach = max(ends) / least
        axes.set(xscale="log", xlim=(least / reach**0.05, max(ends) * reach**0.35))
        axes.scatter(values, places, c=colours, s=60, zorder=2)
        axes.set_xlabel(f"{unit}, on a logarithmic axis", fontsize=8)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.xaxis.set_minor_formatter("")
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(alpha=0.4, which="major")
        axes.spines[["top", "right"]].set_visible(False)
    else:
        axes.barh(places, values, color=colours, height=0.7)
        axes.set_xlim(0, 1.35 * max(ends, default=1))
        axes.set_xticks([])
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    for place, end, bar in zip(places, ends, bars, strict=True):
        axes.annotate(bar.label, (end, place), xytext=(8, 0), textcoords="offset points",
                      va="center", fontsize=8, zorder=4,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0},
                      fontweight="bold" if bar.ours else "normal")  # fmt: skip
    axes.set_ylim(-0.6, max(1, len(bars)) - 0.4)
    axes.set_yticks(places, [bar.name for bar in bars])
    for tick, bar in zip(axes.get_yticklabels(), bars, strict=True):
        tick.set_fontweight("bold" if bar.ours else "normal")
