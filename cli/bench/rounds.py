"""Interleaved rounds: each times every contender once, in an order of its own."""

import random
import statistics
from collections.abc import Callable, Mapping
from typing import Any

Run = Callable[[], object]
Stopwatch = Callable[[Run, int], float]
"""Seconds for so many runs, finished on the device."""

MOST_RUNS = 10_000


def interleave(
    runs: Mapping[str, Run],
    stopwatch: Stopwatch,
    *,
    rounds: int,
    seconds: float,
    seed: int,
    failed: Callable[[str, Exception], None],
    begins: Callable[[str], None] = lambda name: None,
) -> tuple[dict[str, list[float]], list[list[str]]]:
    """Seconds of one run by name, a sample a round, and the order of each round.

    What disturbs the machine for a while disturbs all of them alike. At each of its turns a
    contender first runs once untimed, so that its threads are awake and those of the one before it
    have gone to sleep, and then as often as fills ``seconds``.

    Args:
        runs: by name; each has run before, so that nothing is compiled here.
        stopwatch: of the framework.
        rounds: samples of each.
        seconds: the least time of a sample.
        seed: of the orders.
        failed: told of a run that raises, which is left out from then on.
        begins: told whose turn it is.
    """
    generator = random.Random(seed)
    samples: dict[str, list[float]] = {name: [] for name in runs}
    fastest: dict[str, float] = {}
    orders: list[list[str]] = []
    for _ in range(rounds):
        order = list(samples)
        generator.shuffle(order)
        orders.append(order)
        for name in order:
            begins(name)
            try:
                once = stopwatch(runs[name], 1)
                fastest[name] = max(1e-9, min(once, fastest.get(name, once)))
                count = max(1, min(MOST_RUNS, round(seconds / fastest[name])))
                samples[name].append(stopwatch(runs[name], count) / count)
            except Exception as error:
                # Somebody else's optimizer may raise anything; the others go on.
                failed(name, error)
                del samples[name]
    return samples, orders


def spread(samples: list[float], scale: float = 1.0) -> dict[str, Any]:
    """Median and quartiles, times ``scale``.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'q1': 1.5, 'q3': 2.5, 'least': 1.0, 'samples': 3}
    """
    values = sorted(sample * scale for sample in samples)
    q1, median, q3 = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * values
    )
    return {"median": median, "q1": q1, "q3": q3, "least": values[0], "samples": len(values)}
