"""The lines of ``lion-bench scaling``'s picture, with their names beside their ends."""

from typing import Any

from lion_ports.cli.bench.colours import OURS, THEIRS
from lion_ports.cli.bench.printed import conditions


def draw(axes: Any, document: dict[str, Any], result: dict[str, Any], series: str) -> None:
    """Nanoseconds a parameter of one backend, over the sizes or the counts of tensors."""
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
    axes.set_title(
        f"{result['backend']} on {result['device']}: {conditions(document['settings'])}",
        loc="left",
        fontsize=10,
        pad=10,  # over the highest of the names
    )
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
