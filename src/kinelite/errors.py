"""What goes wrong, as a sentence and an exit code: 1 failed, 2 usage, 3 environment, 4 data.

A message says what was given, what is allowed, the nearest match and the next command. The command line prints it
without a traceback; from Python these are ordinary ``ValueError`` and ``RuntimeError``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """The command or argument cannot be meant: unknown name, impossible combination, folder of another run."""

    exit_code = 2


class SetupError(RuntimeError):
    """The machine lacks something: a device, a decoder, an extra, disk space, write permission."""

    exit_code = 3


class DataError(ValueError):
    """The data cannot be used: no clips, one class only, unreadable files, labels outside the class list."""

    exit_code = 4


class RunError(RuntimeError):
    """The run itself failed, such as a loss that is no longer finite."""

    exit_code = 1


KINELITE_ERRORS = (UsageError, SetupError, DataError, RunError)


def unknown(kind: str, given: str, allowed: Iterable[str], next_command: str) -> UsageError:
    """The error for a name that is not on a list: what was given, the nearest names, where the list is printed."""
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.4)
    hint = f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(names[:12])}."
    return UsageError(f"Unknown {kind} '{given}'. {hint} All of them: {next_command}")
