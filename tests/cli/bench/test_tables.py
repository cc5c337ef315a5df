"""Which columns the tables of ``lion-bench`` have, and that nothing of them is ever cut."""

import re

import pytest
from bench_results import QUICK, contenders, document

from lion_ports.cli.bench.printed import number, times

pytestmark = pytest.mark.usefixtures("measured_once")

STEP = ("step", "--backend", "mlx", "--shapes", "2x128", *QUICK)
LONG = "momentum_dtype=int8,betas=(0.9, 0.95),global_clipnorm=1.0,nonfinite=skip"


def lines(out):
    """Without colours."""
    return [re.sub("\x1b\\[[0-9;]*m", "", line).rstrip() for line in out.splitlines()]


def cells(out, name):
    """The row of one contender."""
    (row,) = [line for line in lines(out) if line.startswith(f"  {name}  ")]
    return re.split(" {2,}", row.strip())


def columns(page):
    """Of the Markdown table in a page."""
    (head,) = [line for line in page.splitlines() if line.startswith("| mlx |")]
    return [name.strip() for name in head.strip("|").split("|")]


@pytest.mark.parametrize("width", [80, 90])
def test_a_narrow_terminal_has_fewer_columns(width, bench, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = bench(*STEP)
    assert code == 0
    assert "no room for quartiles" in out
    assert cells(out, "mlx Lion")[-1].endswith("B")  # the extra memory, which is the last column
    assert max(map(len, lines(out))) <= width


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("width", [30, 80, 100, 140])
def test_no_figure_is_cut_however_narrow_it_is(width, terminal, bench, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, _ = bench(
        *STEP, "--only", "lion-ports", "--only", "mlx Lion", "--with", LONG, "--json", "all.json"
    )
    assert code == 0
    assert "\N{HORIZONTAL ELLIPSIS}" not in out
    found = contenders(document(folder)["backends"][0])
    plain = found["lion-ports"]["ms"]["median"]
    for name, entry in found.items():
        shown = cells(out, name)
        assert shown[:2] == [name, number(entry["ms"]["median"])]
        assert times(entry["times_baseline"]) in shown[2:]
        assert times(plain / entry["ms"]["median"]) in shown[2:]


@pytest.mark.parametrize("width", [None, 70, 200])
def test_a_pipe_is_as_wide_as_it_is_told(width, bench, monkeypatch):
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = bench(*STEP, "--only", "lion-ports", "--peer", "mlx:mine:Raises")
    assert code == 0
    assert ("no room for" in out) is (width == 70)
    versions = next(line for line in lines(out) if line.startswith("python "))
    assert len(versions) <= (width or 160)


def test_notes_that_wrap_keep_their_indent(bench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = bench(*STEP)
    assert code == 0
    text = lines(out)
    (first,) = [place for place, line in enumerate(text) if "no room for" in line]
    rest = text[first:]
    assert len(rest) > 1
    assert all(re.match("  [^ ]", line) and len(line) <= 60 for line in rest)


def test_a_column_that_nobody_has_anything_in_is_left_out(bench, folder):
    code, out, _ = bench(*STEP, "--only", "lion-ports", "--markdown", "new.md")
    assert code == 0
    due = ["mlx", "ms", "quartiles", "bytes/param", "GB/s", "of bandwidth", "extra memory"]
    assert columns((folder / "new.md").read_text()) == due
    assert "fastest" not in out
    code, _, _ = bench(*STEP, "--only", "lion-ports, mx.*", "--markdown", "new.md")
    assert code == 0
    assert columns((folder / "new.md").read_text()) == [*due, "compile", "recompiled"]


@pytest.mark.parametrize(
    ("only", "heading", "bases"),
    [
        (
            ("lion-ports", "mlx Lion"),
            "vs lion-ports",
            {
                "lion-ports": "lion-ports",
                "lion-ports, clipnorm=1.0": "lion-ports",
                "mlx Lion": "lion-ports",
            },
        ),
        (
            ("lion-ports*", "mlx Lion"),
            "vs without options",
            {
                "lion-ports": "lion-ports",
                "lion-ports, clipnorm=1.0": "lion-ports",
                "lion-ports, mx.compile": "lion-ports, mx.compile",
                "lion-ports, mx.compile, clipnorm=1.0": "lion-ports, mx.compile",
                "mlx Lion": None,
            },
        ),
    ],
)
def test_options_stand_beside_none(only, heading, bases, bench, folder):
    patterns = (word for pattern in only for word in ("--only", pattern))
    files = ("--json", "all.json", "--markdown", "new.md")
    code, out, _ = bench(*STEP, *patterns, "--with", "clipnorm=1.0", *files)
    assert code == 0
    page = (folder / "new.md").read_text()
    place = columns(page).index(heading)
    found = contenders(document(folder)["backends"][0])
    assert set(found) == set(bases)
    for name, base in bases.items():
        due = (
            "" if base is None else times(found[base]["ms"]["median"] / found[name]["ms"]["median"])
        )
        written = f"**{name}**" if found[name]["ours"] else name
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {written} |")]
        assert [cell.strip() for cell in row.strip("|").split("|")][place] == due
        assert due in cells(out, name) or not due
