"""Errors a user can act on: one sentence that says what was given, what is needed and what to do."""


class FocvsError(Exception):
    """Base of the errors that the command line prints as one line."""


class InputError(FocvsError, ValueError):
    """A scan, volume or option that cannot be worked with."""


class NoScanError(InputError):
    """An image that is no multi-slice MRI: isotropic, several frames, a phase, a localizer, of another modality."""


class PriorError(FocvsError):
    """A prior that is missing, truncated or of another kind."""


class Terminated(KeyboardInterrupt):
    """The system asked the process to end (SIGTERM), as Slurm does before it kills a job."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a processor or a GPU."""
    said = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("allocate memory" in said or "out of memory" in said))
    )


def first_line(error: Exception) -> str:
    """What another library says of an error, cut to its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
