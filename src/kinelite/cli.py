"""The command line: verb -> module, imported only when the verb is used, so that help is instant."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from kinelite.errors import KINELITE_ERRORS, UsageError, unknown
from kinelite.ranks import Ranks, find_ranks

VERBS = {
    "demo": "The whole story on built-in clips: conventional training against SFA, in minutes on a CPU.",
    "train": "Train a model on your clips. Continues an unfinished run by itself.",
    "eval": "Score a trained model on a set of clips.",
    "predict": "Label clips with a trained model.",
    "report": "One static page from run folders.",
    "data": "Check a set of clips, or describe it.",
    "features": "Compute the features of a frozen encoder once; check them, or take them elsewhere.",
    "plan": "What training will take, before it runs: memory, batch, frames, hours, disk.",
    "export": "Write a model for ONNX Runtime, ExecuTorch or Core ML, checked against PyTorch.",
    "bench": "Latency, memory and cost of models on a device; how fast clips are read.",
    "recommend": "Which model fits a budget of milliseconds, memory, accuracy, hours on a device.",
    "list": "Names of models, data sets, recipes, policies.",
    "info": "What a model is and costs; what a data set looks like.",
    "doctor": "This machine: devices, decoders, disk; what to paste into a bug report.",
}


def usage() -> str:
    """Help of the bare command."""
    lines = "\n".join(f"  {verb:10}{text}" for verb, text in VERBS.items())
    return (
        f"usage: kinelite VERB ...\n\nVideo action recognition on hardware that people own.\n\n{lines}\n\n"
        "Every verb: --help with an example, --json for one JSON object as the last line of output.\n"
        "Start with: kinelite demo"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code: 0 good, 1 failed, 2 usage, 3 environment, 4 data."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if args else 2
    if args[0] in ("--version", "-V"):
        from kinelite import __version__

        print(f"kinelite {__version__}")
        return 0
    shown, warnings.showwarning = warnings.showwarning, _warn
    who = args[0]
    try:
        with _heard() as ranks:
            who += f" (process {ranks.rank} of {ranks.size})" if ranks.size > 1 else ""
            return _run(args[0], args[1:])
    except KINELITE_ERRORS as error:
        print(f"kinelite {who}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain once more while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"kinelite {args[0]}: stopped by Ctrl-C.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"kinelite {args[0]}: {error}. See: kinelite doctor", file=sys.stderr)
        return 3
    finally:
        warnings.showwarning = shown


@contextlib.contextmanager
def _heard() -> Iterator[Ranks]:
    """Of the processes that torchrun or srun started together only the first one is heard on standard output."""
    ranks = find_ranks()
    with contextlib.ExitStack() as stack:
        if not ranks.first:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        yield ranks


def _warn(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """A warning as a sentence; the line of code that it came from is no use to the reader."""
    print(f"warning: {message}", file=sys.stderr)


def _run(verb: str, args: list[str]) -> int:
    if verb not in VERBS:
        raise unknown("verb", verb, VERBS, "kinelite --help")
    as_json = "--json" in args
    module = importlib.import_module(f"kinelite.commands.{verb}_")
    result: Any = module.main([a for a in args if a != "--json"])
    code = int(result.pop("exit_code", 0))
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
    return code


def parse(kind: Any, prog: str, args: Sequence[str], default: Any = None, description: str | None = None) -> Any:
    """``args`` as the dataclass ``kind`` (tyro). A misspelt flag ends with suggestions and exit code 2."""
    import tyro

    try:
        return tyro.cli(kind, prog=prog, args=list(args), default=default, description=description)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{error}. See: {prog} --help") from error


if __name__ == "__main__":
    sys.exit(main())
