"""Numbers as the tables and messages have them."""

from typing import Any


def counted(count: int, noun: str) -> str:
    """So many of them.

    >>> counted(1, "round"), counted(2_000, "round")
    ('1 round', '2,000 rounds')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def number(value: float) -> str:
    """Three digits.

    >>> number(1234.5), number(12.345), number(0.012345)
    ('1,234', '12.3', '0.0123')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def parameters(case: dict[str, Any]) -> str:
    """How many a case has: in millions, or to the last one.

    >>> parameters({"parameters": 33_562_624}), parameters({"parameters": 2_000})
    ('33.6 M parameters', '2,000 parameters')
    """
    count = case["parameters"]
    return f"{count / 1e6:,.1f} M parameters" if count >= 1e6 else counted(count, "parameter")


def times(ratio: float | None) -> str:
    """How many times as fast, or nothing."""
    return "" if ratio is None else f"{ratio:.2f}x" if ratio < 100 else f"{ratio:,.0f}x"


def size(count: int | None) -> str:
    """Bytes, or nothing."""
    if count is None:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
