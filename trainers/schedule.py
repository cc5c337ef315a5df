"""Learning-rate schedules as pure functions of the step, in float64 on the host."""

import math

SCHEDULES = ("cosine", "linear", "constant")


def learning_rate(
    step: int, *, peak: float, steps: int, warmup: int, schedule: str, floor: float
) -> float:
    """The learning rate of the update after ``step`` updates (the first update: step 0).

    Warm-up rises linearly through ``peak * (step + 1) / (warmup + 1)`` and meets ``peak`` at
    ``step == warmup``. From there ``cosine`` and ``linear`` fall and reach ``floor * peak`` at
    the last update, ``step == steps - 1``; ``constant`` stays.

    Args:
        step: updates done, >= 0. Past the end the last value holds.
        peak: the highest learning rate.
        steps: length of the run in updates.
        warmup: updates before the peak.
        schedule: ``"cosine"``, ``"linear"`` or ``"constant"``.
        floor: the last value as a share of ``peak``.

    >>> [learning_rate(s, peak=1.0, steps=5, warmup=2, schedule="linear", floor=0.0)
    ...  for s in range(5)]
    [0.3333333333333333, 0.6666666666666666, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if schedule == "constant":
        return peak
    progress = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    fall = 1 - progress if schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return peak * (floor + (1 - floor) * fall)
