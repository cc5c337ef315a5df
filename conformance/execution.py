"""Run one case on one implementation and say what came of it."""

import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from lion_ports.conformance.diagnosis import diagnose
from lion_ports.conformance.observation import RecompiledError, SilentError, TouchedError, observe
from lion_ports.conformance.protocol import UnsupportedError
from lion_ports.conformance.refusal import not_refused
from lion_ports.conformance.trajectory import judge_trajectory
from lion_ports.conformance.trial import Case, Snapshot, Trial
from lion_ports.conformance.verdict import Judgement, judge

Level = Literal["bitwise", "faithful", "trajectory"]
LEVELS: tuple[Level, ...] = ("bitwise", "faithful", "trajectory")

# Outcomes that say yes, those that say no, and those that say nothing: an option that is not
# offered (UNSUPPORTED), a case that was left out (SKIP), and one that failed as expected (XFAIL).
PASSED = ("EXACT", "ULP", "BOUNDED", "AMBIGUOUS")
FAILED = ("FAIL", "ERROR", "XPASS")
UNSUPPORTED = "UNSUPPORTED"
SILENT = (UNSUPPORTED, "SKIP", "XFAIL")

# Up to this many ulp along the whole stream the distance itself is the outcome.
_ULP_LIMIT = 64


@dataclass
class Result:
    """The outcome of one case, as it stands in the JSON report.

    ``max_ulp`` is the largest distance from the reference along the stream, in representable
    numbers of the storage dtype; ``ambiguous`` counts signs inside the band where all are allowed.
    ``reason`` and ``link`` are those of an expectation (``--expect``), if there is one. The detail
    of a SKIP says why the run gave up before; one that an expectation asked for has none.
    """

    id: str
    rule: str
    outcome: str
    max_ulp: int = 0
    ambiguous: int = 0
    diagnosis: list[str] = field(default_factory=list)
    detail: str = ""
    seconds: float = 0.0
    reason: str = ""
    link: str = ""

    @property
    def failed(self) -> bool:
        """Whether this case keeps the implementation from conforming."""
        return self.outcome in FAILED

    @property
    def not_run(self) -> bool:
        """Whether the run gave up before this case."""
        return self.outcome == "SKIP" and bool(self.detail)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; a reason and a link stand there only where there is one."""
        told = asdict(self)
        return {k: v for k, v in told.items() if v or k not in ("reason", "link")}


def not_run(case: Case, why: str) -> Result:
    """The result of a case that a run gave up before."""
    return Result(case.id, case.rule, "SKIP", detail=why)


def run_case(case: Case, make: Callable[[], Any], level: Level, *, flush: bool = False) -> Result:
    """Put one case to fresh implementations from ``make`` and judge what they did.

    An exception of the implementation is an outcome (ERROR), not an exception of this function.
    """
    began = time.perf_counter()
    result = Result(case.id, case.rule, "ERROR")
    trial = case.build()
    try:
        if trial.refuse is not None:
            _conclude_refusal(result, not_refused(trial, make), level)
        else:
            observed, uninterrupted = replay(make, trial)
    except UnsupportedError as error:
        result.outcome, result.detail = UNSUPPORTED, error.capability
    except (RecompiledError, SilentError, TouchedError) as error:
        result.outcome, result.detail, result.diagnosis = "FAIL", str(error), [error.mutant]
    except Exception as error:  # whatever it is, it is the implementation's answer
        where = traceback.extract_tb(error.__traceback__)[-1]
        result.detail = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
    else:
        if trial.refuse is None:
            verdict = judge_trajectory if level == "trajectory" else judge
            judgement = verdict(trial, observed, flush=flush, uninterrupted=uninterrupted)
            _conclude(result, judgement, level)
            if result.failed:
                result.diagnosis = diagnose(trial, observed, flush=flush)
    result.seconds = round(time.perf_counter() - began, 4)
    return result


def replay(make: Callable[[], Any], trial: Trial) -> tuple[list[Snapshot], list[Snapshot] | None]:
    """What is seen of a trial, and of the same without its restart, if it has one.

    Raises:
        TouchedError: a gradient was written to (L-003).
        SilentError: a step came through that had to raise (L-019).
        RecompiledError: another learning rate made the compiler work again (L-015).
        UnsupportedError: the implementation does not offer what the trial needs.
    """
    observed = observe(make, trial)
    if trial.restart_at is None:
        return observed, None
    return observed, observe(make, replace(trial, restart_at=None))


def _conclude_refusal(result: Result, passed: str, level: Level) -> None:
    """Only the level "bitwise" insists on refusals (validation is L-020)."""
    if not passed:
        result.outcome = "EXACT"
    elif level == "bitwise":
        result.outcome, result.detail = "FAIL", f"not refused: {passed}"
    else:
        result.outcome, result.detail = UNSUPPORTED, f"refusing {passed}"


def _conclude(result: Result, judgement: Judgement, level: Level) -> None:
    result.max_ulp, result.ambiguous = judgement.max_ulp, judgement.ambiguous
    finding = judgement.bitwise if level == "bitwise" else judgement.faithful
    if finding is not None:
        result.outcome, result.detail = "FAIL", str(finding)
    elif judgement.equal:
        result.outcome, result.ambiguous = "EXACT", 0
    elif judgement.max_ulp <= _ULP_LIMIT:
        result.outcome = "ULP"
    else:
        result.outcome = "AMBIGUOUS" if judgement.ambiguous else "BOUNDED"
