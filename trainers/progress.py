"""What a run says: a rich bar on a terminal, plain lines elsewhere, nothing when quiet."""

import os
import resource
import sys
from typing import NamedTuple, Protocol


class Progress(NamedTuple):
    """One training step for display; ``tokens_per_s`` and ``ms`` are medians of the last."""

    step: int
    steps: int
    loss: float
    lr: float
    grad_norm: float
    tokens_per_s: float
    ms: float

    def line(self) -> str:
        """``step 00120/01000 12.0% | loss 2.4312 | lr 3.0e-04 | ...``."""
        left = (self.steps - self.step) * self.ms / 1000
        return (
            f"step {self.step:05d}/{self.steps:05d} {100 * self.step / self.steps:4.1f}% | "
            f"loss {self.loss:.4f} | lr {self.lr:.1e} | gnorm {self.grad_norm:.2f} | "
            f"{self.tokens_per_s:,.0f} tok/s | {self.ms:.0f} ms | "
            f"mem {peak_memory() / 1e9:.1f} GB | eta {duration(left)}"
        )


class Reporter(Protocol):
    """Where a run's words go."""

    def say(self, text: str) -> None:
        """A line of information."""

    def warn(self, text: str) -> None:
        """A line that quiet does not silence."""

    def step(self, progress: Progress) -> None:
        """One training step is done; it is for the reporter to show it or not."""

    def close(self) -> None:
        """Give the terminal back."""


class Quiet:
    """Warnings only, on stderr."""

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        print(f"lion-train: {text}", file=sys.stderr, flush=True)

    def step(self, progress: Progress) -> None:
        pass

    def close(self) -> None:
        pass


class Plain(Quiet):
    """Lines on stdout, for files and pipes."""

    def __init__(self, every: int) -> None:
        self._every = every

    def say(self, text: str) -> None:
        try:
            print(text, flush=True)
        except BrokenPipeError:
            # The reader has gone (``| head``); the training goes on without it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def step(self, progress: Progress) -> None:
        if progress.step % self._every == 0:
            self.say(progress.line())


class Bar(Quiet):
    """A bar at the foot of the terminal with everything else above it."""

    def __init__(self, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(highlight=False)
        columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
        self._bar = RichProgress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task("", total=steps)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        # While the bar stands, rich sends stderr to its console too; the next step starts it anew.
        self._bar.stop()
        super().warn(text)

    def step(self, progress: Progress) -> None:
        self._bar.start()
        self._bar.update(self._task, completed=progress.step, description=progress.line())

    def close(self) -> None:
        self._bar.stop()


def reporter(*, quiet: bool, steps: int, every: int) -> Reporter:
    """The reporter for this stdout."""
    if quiet:
        return Quiet()
    return Bar(steps) if sys.stdout.isatty() else Plain(every)


def duration(seconds: float) -> str:
    """``45s``, ``2m10s`` or ``3h05m``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes (a GPU's is not in it)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
