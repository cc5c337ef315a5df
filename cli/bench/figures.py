"""Ratios: from milliseconds and bytes to what the tables say."""

from typing import Any

from lion_ports.cli.bench.variants import plain


def complete(result: dict[str, Any]) -> None:
    """Add bandwidth and ratios to every contender of one backend's cases, in place.

    ``of_bandwidth`` is the bandwidth reached divided by that of the probe in the same rounds;
    ``times_baseline`` and ``times_fastest`` say how many times as fast as the baseline, and as the
    fastest that is not ours.
    """
    for case in result["cases"]:
        for entry in case["contenders"]:
            if entry["status"] == "measured":
                _complete(entry, case, result["baseline"])


def median(case: dict[str, Any], name: str) -> float | None:
    """Milliseconds of a contender, or None if it has none."""
    for entry in case["contenders"]:
        if entry["name"] == name and entry["status"] == "measured":
            return float(entry["ms"]["median"])
    return None


def fastest(case: dict[str, Any]) -> str | None:
    """The fastest contender that is not ours."""
    others = [e for e in case["contenders"] if not e["ours"] and e["status"] == "measured"]
    return min(others, key=lambda e: e["ms"]["median"])["name"] if others else None


def without_options(case: dict[str, Any]) -> tuple[str, dict[str, float]]:
    """How many times as fast as ours without options: what it is to, and the ratios by name.

    If one of ours takes part, they are to that one. If several do, each of them is compared with
    the same one without options, and other people's with none. Empty where nobody has options.
    """
    entries = case["contenders"]
    ours = {e["name"]: plain(e["name"]) for e in entries if e["ours"]}
    if all(name == base for name, base in ours.items()):
        return "", {}
    bases = set(ours.values())
    common = bases.pop() if len(bases) == 1 else None
    ratios = {}
    for entry in entries:
        base = ours.get(entry["name"], common)
        theirs = None if base is None else median(case, base)
        if theirs is not None and entry["status"] == "measured":
            ratios[entry["name"]] = theirs / entry["ms"]["median"]
    return "vs without options" if common is None else f"vs {common}", ratios


def _complete(entry: dict[str, Any], case: dict[str, Any], baseline: str) -> None:
    ms = entry["ms"]["median"]
    reached = entry["bytes_per_parameter"] * case["parameters"] / 1e6 / ms
    best = fastest(case)
    entry["gb_per_second"] = reached
    entry["of_bandwidth"] = reached / case["bandwidth"]["gb_per_second"]
    for key, other in (("times_baseline", baseline), ("times_fastest", best)):
        theirs = None if other is None else median(case, other)
        entry[key] = None if theirs is None else theirs / ms
    entry["ns_per_parameter"] = 1e6 * ms / case["parameters"]
