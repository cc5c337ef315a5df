"""The document as a picture: bars of one step or of training, lines of scaling."""

import io
import textwrap
from typing import Any

from lion_ports.cli.bench import bars, lines, notes
from lion_ports.cli.bench.colours import DARK
from lion_ports.cli.bench.printed import counted

_EDGE = 0.12  # inches around everything
_LETTERS = 16  # of the foot, in an inch
_LETTER = 0.085  # inches of one of a name's


def draw(document: dict[str, Any], format: str) -> bytes:
    """The picture as the bytes of a PNG or SVG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    results = document["backends"]
    # Without a salt the names inside an SVG are random, and every run is another file.
    with mpl.rc_context({"font.size": 9, "svg.hashsalt": "lion-bench"}):
        figure = Figure(dpi=150, layout=ConstrainedLayoutEngine(w_pad=_EDGE, h_pad=_EDGE))
        if document["kind"] == "scaling":
            width, height = 11 + 2 * _room(results, 24), 3.6 * len(results)
            panels = figure.subplots(len(results), 2, squeeze=False)
            for row, result in zip(panels, results, strict=True):
                lines.draw(row[0], document, result, "size")
                lines.draw(row[1], document, result, "count")
        else:
            draw_bars = bars.steps if document["kind"] == "step" else bars.trainings
            rows = [max(1, len(bars.measured(result))) for result in results]
            width, height = 9 + _room(results, 44), 0.32 * sum(rows) + 1.2 * len(rows)
            panels = figure.subplots(len(results), 1, squeeze=False, height_ratios=rows)
            for axes, result in zip(panels[:, 0], results, strict=True):
                draw_bars(axes, document, result)
        foot = _foot(document, int(_LETTERS * width))
        figure.set_size_inches(width, height + 0.15 * len(foot))
        # Whatever an exception says: between two dollars stands no formula.
        figure.supxlabel("\n".join(foot), x=_EDGE / width, ha="left", fontsize=7.5, color=DARK,
                         parse_math=False)  # fmt: skip
        picture = io.BytesIO()
        figure.savefig(picture, format=format, metadata={"Date": None} if format == "svg" else {})
    return picture.getvalue()


def _room(results: list[dict[str, Any]], usual: int) -> float:
    """Inches for the names that are longer than so many letters, as options make them."""
    names = [e["name"] for r in results for case in r["cases"] for e in case["contenders"]]
    return _LETTER * max(0, max(map(len, names)) - usual)


def _foot(document: dict[str, Any], width: int) -> list[str]:
    """The machine, and what is said below the tables."""
    machine = document["machine"]
    on = f"{machine['cpu']}, {counted(machine['cores'], 'core')}; {document['date'][:10]}"
    remarks = notes.of_machine(machine)
    for result in document["backends"]:
        found = (note for case in result["cases"] for note in notes.of_case(case, result))
        remarks += [f"{result['backend']}: {note}" for note in dict.fromkeys(found)]
    return [line for remark in [on, *remarks] for line in textwrap.wrap(remark, width)]
