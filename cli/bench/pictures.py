"""The document as a picture: bars of one step or of training, lines of scaling."""

import io
from typing import Any

from lion_ports.cli.bench.printed import counted, number, parameters

# Okabe and Ito's colours, which the colour-blind tell apart; ours is always the first two.
OURS = ("#0072B2", "#56B4E9")
THEIRS = ("#D55E00", "#E69F00", "#CC79A7", "#999999")
GREY, DARK = "#BBBBBB", "#333333"


def draw(document: dict[str, Any], format: str) -> bytes:
    """The picture as the bytes of a PNG or SVG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    results = document["backends"]
    # Without a salt the names inside an SVG are random, and every run is another file.
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "lion-bench"}):
        if document["kind"] == "scaling":
            figure = Figure(figsize=(11, 3.6 * len(results)), dpi=150, layout="constrained")
            panels = figure.subplots(len(results), 2, squeeze=False)
            for row, result in zip(panels, results, strict=True):
                _lines(row[0], result, "size")
                _lines(row[1], result, "count")
        else:
            bars = _steps if document["kind"] == "step" else _trainings
            rows = [max(1, len(_measured(result))) for result in results]
            height = 0.32 * sum(rows) + 0.9 * len(rows)
            figure = Figure(figsize=(9, height), dpi=150, layout="constrained")
            panels = figure.subplots(len(results), 1, squeeze=False, height_ratios=rows)
            for axes, result in zip(panels[:, 0], results, strict=True):
                bars(axes, document, result)
        machine = document["machine"]
        figure.supxlabel(
            f"{machine['cpu']}, {counted(machine['cores'], 'core')}; {document['date'][:10]}",
            fontsize=8,
            color=DARK,
        )
        picture = io.BytesIO()
        figure.savefig(picture, format=format, metadata={"Date": None} if format == "svg" else {})
    return picture.getvalue()


def _measured(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Slowest first: bars are drawn from the bottom."""
    entries = [e for e in result["cases"][0]["contenders"] if e["status"] == "measured"]
    return sorted(entries, key=lambda e: -float(e["ms"]["median"]))


def _steps(axes: Any, document: dict[str, Any], result: dict[str, Any]) -> None:
    case = result["cases"][0]
    entries = _measured(result)
    values = [e["ms"]["median"] for e in entries]
    spreads = [(e["ms"]["median"] - e["ms"]["q1"], e["ms"]["q3"] - e["ms"]["median"])
               for e in entries]  # fmt: skip
    labels = [
        f"{number(e['ms']['median'])} ms"
        + ("" if e["times_baseline"] is None else f"  ({number(e['times_baseline'])}x)")
        for e in entries
    ]
    _bars(axes, entries, values, spreads, labels)
    lion = 5 * {"float64": 8, "float32": 4}.get(document["settings"]["dtype"], 2)
    limit = lion * case["parameters"] / 1e6 / case["bandwidth"]["gb_per_second"]
    if limit < axes.get_xlim()[1]:  # what fits in the cache goes faster
        axes.axvline(limit, color=DARK, lw=1, ls="--")
        axes.text(limit, len(entries) - 0.5, f" {lion} bytes a parameter at the bandwidth",
                  color=DARK, fontsize=8, va="bottom")  # fmt: skip
    axes.set_title(
        f"{result['backend']}: one step of {parameters(case)} ({result['baseline']} = 1x)\n",
        loc="left",
        fontsize=10,
    )


def _trainings(axes: Any, document: dict[str, Any], result: dict[str, Any]) -> None:
    case = result["cases"][0]
    entries = [e for e in _measured(result) if "tokens_per_second" in e]
    rates = [e["tokens_per_second"] for e in entries]
    _bars(
        axes,
        entries,
        [rate["median"] for rate in rates],
        [(rate["median"] - rate["q1"], rate["q3"] - rate["median"]) for rate in rates],
        [f"{rate['median']:,.0f} tokens/s" for rate in rates],
    )
    share = case["optimizer_share"]
    words = "" if share is None else f"; the optimizer takes {share:.1%} of a step"
    axes.set_title(f"{result['backend']}: preset {case['preset']}{words}", loc="left", fontsize=10)


def _bars(
    axes: Any,
    entries: list[dict[str, Any]],
    values: list[float],
    spreads: list[tuple[float, float]],
    labels: list[str],
) -> None:
    """Bars with their names to the left and their figures beside them."""
    places = list(range(len(entries)))
    own = [e["ours"] and not e["name"].startswith("hand-written") for e in entries]
    axes.barh(places, values, color=[OURS[0] if ours else GREY for ours in own], height=0.7)
    axes.errorbar(values, places, xerr=list(zip(*spreads, strict=True)) or None, fmt="none",
                  ecolor=DARK, elinewidth=0.8, capsize=2)  # fmt: skip
    ends = [value + above for value, (_, above) in zip(values, spreads, strict=True)]
    for place, end, label, ours in zip(places, ends, labels, own, strict=True):
        axes.text(end, place, f"  {label}", va="center", fontsize=8, zorder=3,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0},
                  fontweight="bold" if ours else "normal")  # fmt: skip
    axes.set_yticks(places, [e["name"] for e in entries])
    for tick, ours in zip(axes.get_yticklabels(), own, strict=True):
        tick.set_fontweight("bold" if ours else "normal")
    axes.set_xlim(0, 1.35 * max(ends, default=1))
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _lines(axes: Any, result: dict[str, Any], series: str) -> None:
    cases = [case for case in result["cases"] if case["series"] == series]
    across = "parameters" if series == "size" else "tensors"
    points: dict[str, list[tuple[float, float]]] = {}
    ours: list[str] = []
    for case in cases:
        for entry in case["contenders"]:
            if entry["status"] == "measured":
                name = entry["name"]
                points.setdefault(name, []).append((case[across], entry["ns_per_parameter"]))
                if entry["ours"] and name not in ours:
                    ours.append(name)
    ends = []
    others = [name for name in points if name not in ours]
    for number_, name in enumerate([*ours, *others]):
        palette, place = (OURS, number_) if name in ours else (THEIRS, number_ - len(ours))
        colour = palette[place % len(palette)]
        xs, ys = zip(*points[name], strict=True)
        axes.plot(xs, ys, color=colour, lw=2 if name in ours else 1.2, marker="os^v"[place % 4],
                  ms=4)  # fmt: skip
        ends.append((ys[-1], xs[-1], name, colour))
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("parameters in one tensor" if series == "size"
                    else f"tensors of {cases[0]['parameters']:,} parameters together")  # fmt: skip
    axes.set_ylabel("ns a parameter")
    axes.set_title(f"{result['backend']}", loc="left", fontsize=10)
    axes.grid(alpha=0.3, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    _label_ends(axes, ends)


def _label_ends(axes: Any, ends: list[tuple[float, float, str, str]]) -> None:
    """Names to the right of the panel, beside their last points, none on another."""
    low, high = axes.get_ylim()
    gap = (high / low) ** 0.075
    ends = sorted(ends)
    heights, least = [], low
    for y, *_ in ends:
        heights.append(max(y, least))
        least = heights[-1] * gap
    most = high
    for place in reversed(range(len(ends))):  # down again, where they went above the panel
        heights[place] = min(heights[place], most)
        most = heights[place] / gap
    for (y, x, name, colour), height in zip(ends, heights, strict=True):
        axes.annotate(
            name, (x, y), xytext=(1.03, height), textcoords=axes.get_yaxis_transform(),
            color=colour, fontsize=8, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "alpha": 0.5},
        )  # fmt: skip
