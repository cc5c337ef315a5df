"""The errors of the trainer. Each is one sentence for the user and carries its exit code."""

from lion_ports.errors import ConfigError, LionError


class TrainError(LionError):
    """Base class: ``lion-train`` prints the message and ends with ``exit_code``."""

    exit_code = 2


class ThresholdError(TrainError):
    """A loss is above the limit that the user set."""

    exit_code = 1


class UsageError(TrainError, ConfigError):
    """Settings, names or folders that cannot be used, all of them in one message."""

    exit_code = 2


class BackendError(TrainError):
    """A framework that was asked for is not installed or does not import."""

    exit_code = 3


class TrainingNonFiniteError(TrainError):
    """A gradient, then the weights are those before the step, or the logits are not finite."""

    exit_code = 4


class DataError(TrainError):
    """Training text or a checkpoint that is missing, too short, damaged or not text."""

    exit_code = 5
