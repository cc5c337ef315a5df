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

    >>> number(1234.5), number(99.97), number(12.345), number(0.012345)
    ('1,234', '100', '12.3', '0.0123')
    """
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def ratio(value: float) -> str:
    """Two decimals, or where these would say less, two digits.

    >>> ratio(1234.5), ratio(12.345), ratio(0.6), ratio(0.0994), ratio(0.00412)
    ('1,234', '12.35', '0.60', '0.099', '0.0041')
    """
    if value < 0.0995:
        return f"{value:#.2g}"
    return f"{value:.2f}" if value < 99.995 else f"{value:,.0f}"


def parameters(case: dict[str, Any]) -> str:
    """How many a case has: in millions, or to the last one.

    >>> parameters({"parameters": 33_562_624}), parameters({"parameters": 2_000})
    ('33.6 M parameters', '2,000 parameters')
    """
    count = case["parameters"]
    return f"{count / 1e6:,.1f} M parameters" if count >= 1e6 else counted(count, "parameter")


def step_title(result: dict[str, Any]) -> str:
    """What a step is made of, and on what."""
    case = result["cases"][0]
    return (
        f"{result['backend']} on {result['device']}: one step of {parameters(case)} "
        f"in {counted(case['tensors'], 'tensor')}"
    )


def training_title(result: dict[str, Any]) -> str:
    """What is trained, and on what."""
    case = result["cases"][0]
    return (
        f"{result['backend']} on {result['device']}: preset {case['preset']}, "
        f"{case['parameters']:,} parameters, {case['tokens']:,} tokens a step"
    )


def conditions(settings: dict[str, Any]) -> str:
    """The settings that the figures depend on.

    >>> conditions({"rounds": 7, "threads": 1, "dtype": "float32"})
    '7 interleaved rounds, 1 thread, float32'
    """
    rounds = counted(settings["rounds"], "interleaved round")
    return f"{rounds}, {counted(settings['threads'], 'thread')}, {settings['dtype']}"


def times(value: float | None) -> str:
    """How many times as fast, or nothing."""
    return "" if value is None else f"{ratio(value)}x"


def size(count: int | None) -> str:
    """Bytes, or nothing."""
    if count is None:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
