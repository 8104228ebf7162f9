"""kinelite data check SPEC"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kinelite.cli import parse
from kinelite.commands.progress import bar
from kinelite.config import SplitConfig
from kinelite.errors import SetupError, UsageError
from kinelite.records import cores, explained

if TYPE_CHECKING:
    from kinelite.data.check.journal import Journal
    from kinelite.data.check.problems import Problem
    from kinelite.data.manifest import Manifest

MANY = 20
"""Notes of one kind that are printed; errors are all printed."""


@dataclass(frozen=True)
class CheckFlags:
    """Find the clips of a set that cannot be used, and write a list of them that leaves them out.

    Example: kinelite data check folder:clips/ --out bad.csv
    """

    spec: Annotated[str, tyro.conf.Positional]
    """Set of clips, such as folder:clips/ or csv:labels.csv, or a folder of videos."""
    out: Path | None = None
    """CSV file for the clips with errors; sets take it as exclude=FILE."""
    full: bool = False
    """Decode every frame instead of the first, the middle and the last."""
    limit_s: float = 60.0
    """Seconds for one clip, after which it counts as broken."""
    strict: bool = False
    """Count notes, such as missing and short clips, as errors."""
    fresh: bool = False
    """Look again at clips that an earlier check has looked at and that have not changed since."""
    all: bool = False
    """Print all notes."""
    workers: int = -1
    """Processes that decode (-1: one per core, 0: none of their own, and then no time limit)."""
    split: SplitConfig = field(default_factory=SplitConfig)


def main(args: list[str]) -> dict[str, Any]:
    """Parse and run."""
    return run(parse(CheckFlags, "kinelite data check", args))


def run(flags: CheckFlags) -> dict[str, Any]:
    """Name every clip that cannot be used, and why; exit code 4 when there is one."""
    check_effort(flags.workers, flags.limit_s)
    _check_out(flags.out)
    from kinelite.data.cards import published_counts
    from kinelite.data.check.problems import check_manifest
    from kinelite.data.sets import find_set, load_any, parse_spec

    manifest = load_any(flags.spec, flags.split)
    workers = cores() if flags.workers < 0 else flags.workers
    frames = "every frame" if flags.full else "first, middle and last frame"
    print(f"Checking {len(manifest.rows)} clips of '{flags.spec}' {where(workers, flags.limit_s)}: {frames}.")
    for note in manifest.notes:
        print(f"  {note}")
    with remembered(flags.spec, flags.out, flags.fresh) as journal:
        try:
            with bar("clips checked") as tick:
                problems = check_manifest(
                    manifest,
                    workers,
                    tick,
                    full=flags.full,
                    limit_s=flags.limit_s,
                    journal=journal,
                    published=published_counts(find_set(flags.spec), parse_spec(flags.spec)[2]),
                    strict=flags.strict,
                )
        except KeyboardInterrupt:
            print("Stopped. The same command goes on from here.", file=sys.stderr)
            raise
    if journal.used:
        print(f"  {journal.used} clips have not changed since an earlier check (--fresh looks at them again).")
    return _told(flags, manifest, problems, journal.used)


def check_effort(workers: int, limit_s: float) -> None:
    """Raises UsageError for a number of processes or a time limit that makes no sense."""
    if workers < -1:
        raise UsageError(f"--workers {workers}: give a number of processes, 0, or -1 for one per core.")
    if not 0 < limit_s < 1e6:
        raise UsageError(f"--limit-s {limit_s}: give seconds above 0, such as 60.")


def where(workers: int, limit_s: float) -> str:
    """In words, who looks at the clips."""
    if not workers:
        return "in this process, without a time limit"
    return f"in {workers} process{'es' if workers > 1 else ''}, at most {limit_s:g} s a clip"


def remembered(spec: str, out: Path | None, fresh: bool) -> Journal:
    """The journal beside ``out``, or else the one of ``spec`` in the cache; one that forgets if that is not writable.

    Raises SetupError when there cannot be one beside ``out``.
    """
    from kinelite.data.cache import cache_folder
    from kinelite.data.check.journal import Journal

    if out is not None:
        return Journal(out.expanduser().with_name(f"{out.name}.looks.jsonl"), fresh)
    import hashlib

    # The same words in another folder may name another set.
    key = hashlib.sha256(f"{os.path.abspath('.')}\n{spec}".encode(errors="surrogateescape")).hexdigest()[:16]
    with suppress(SetupError):
        return Journal(cache_folder() / "looks" / f"{key}.jsonl", fresh)
    return Journal()


def _check_out(out: Path | None) -> None:
    """Before hours of work: whether the list can be written."""
    if out is None:
        return
    if out.is_dir() or not out.suffix:
        raise UsageError(f"--out {out}: give the name of a file to write, such as {out / 'bad.csv'}.")
    with explained(out.parent):
        out.expanduser().parent.mkdir(parents=True, exist_ok=True)


def _told(flags: CheckFlags, manifest: Manifest, problems: list[Problem], used: int) -> dict[str, Any]:
    """Print what was found and write the list."""
    printed: Counter[str] = Counter()
    for problem in problems:
        kind = re.sub(r"[\d.,]+|the same bytes as .* is in", "", problem.reason)
        printed[kind] += 1
        if problem.level == "error" or flags.all or printed[kind] <= MANY:
            part = _part(problem)
            print(f"{problem.level}: {shown(problem.path)}{part}{': ' if problem.path else ''}{shown(problem.reason)}")
    errors = [problem for problem in problems if problem.level == "error"]
    hidden = 0 if flags.all else sum(max(0, count - MANY) for count in printed.values())
    more = f" ({hidden} more notes: --all)" if hidden and len(errors) < len(problems) else ""
    print(f"{len(errors)} problems and {len(problems) - len(errors)} notes in {len(manifest.rows)} clips{more}.")
    _write(flags, manifest, errors)
    rows = [
        {"path": shown(p.path), "reason": shown(p.reason), "level": p.level, "start_s": p.start_s, "end_s": p.end_s}
        for p in problems
    ]
    return {
        "clips": len(manifest.rows),
        "errors": len(errors),
        "absent": len(manifest.absent),
        "used": used,
        "out": str(flags.out) if flags.out else None,
        "problems": rows,
        "exit_code": 4 if errors else 0,
    }


def _write(flags: CheckFlags, manifest: Manifest, errors: list[Problem]) -> None:
    """The list of clips to leave out, and the command that uses it."""
    from kinelite.data.exclusions import clip_key, read_reasons, write_exclusions
    from kinelite.data.sets import parse_spec

    rows = {clip_key(row) for row in manifest.rows}
    keys = [((os.path.abspath(p.path), p.start_s, p.end_s), p.reason) for p in errors if p.path]
    keys = [(key, reason) for key, reason in keys if key in rows]
    if flags.out is None:
        again = f"kinelite data check {shlex.quote(flags.spec)} --out bad.csv"
        usable = f"kinelite data stats {shlex.quote(flags.spec)}"
        print(f"Next: {again if keys else usable}")
        return
    before = parse_spec(flags.spec)[2].get("exclude", "")
    # A list that was used for this check has to stay in force: the new one replaces it in the set's name.
    old = list(read_reasons(before).items()) if before else []
    write_exclusions(flags.out, old + keys)
    spec = re.sub(r",exclude=[^,]*", "", flags.spec) if before else flags.spec
    print(f"{len(keys)} clips to leave out are listed in {flags.out}.")
    option = f",exclude={flags.out}" if old + keys else ""
    print(f"Next: kinelite train sfa --data {shlex.quote(spec + option)}")


def _part(problem: Problem) -> str:
    if problem.start_s is None and problem.end_s is None:
        return ""
    return f" [{problem.start_s or 0:g} s to {'the end' if problem.end_s is None else f'{problem.end_s:g} s'}]"


def shown(text: str) -> str:
    """A file name that can be printed: bytes that are not UTF-8 are written as escapes."""
    return text.encode("utf-8", errors="backslashreplace").decode()
