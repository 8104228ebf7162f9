"""What goes wrong, as a sentence and an exit code: 1 failed, 2 usage, 3 environment, 4 data.

A message says what was given, what is allowed, the nearest match and the next command. The command line prints it
without a traceback; from Python these are ordinary ``ValueError`` and ``RuntimeError``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


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


def neighbours(path: Path) -> str:
    """A sentence on what there is beside a path that is missing, and which of that has the nearest name."""
    folder = path.parent
    try:
        names = sorted(child.name for child in folder.iterdir() if not child.name.startswith("."))
    except FileNotFoundError:
        return f"Its parent '{folder}' is missing as well."
    except OSError as error:
        return f"'{folder}' cannot be listed: {error.strerror}."
    near = difflib.get_close_matches(path.name, names, n=1)
    hint = f" Nearest: {near[0]}." if near else ""
    return f"In '{folder}' there are: {', '.join(names[:8]) or 'no files'}{' ...' if len(names) > 8 else ''}.{hint}"
