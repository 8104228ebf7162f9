"""Which clips are held out when the set does not say: by class, by group, or in folds. Pure, and stable.

Order comes from a hash of seed and name, not from the order of rows: a clip that is added later moves few others.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from kinelite.config import SplitConfig
from kinelite.data.manifest import Row
from kinelite.errors import DataError, UsageError


def hold_out(rows: Sequence[Row], names: Sequence[str], split: SplitConfig) -> tuple[tuple[Row, ...], str]:
    """The rows with ``split`` set to train or val and ``group`` filled in, and a sentence that says how it was done.

    ``names`` are the clips' paths relative to the root, on which ``split.group`` is matched. Without a pattern the
    rows' own groups count, and parts of one file stay together. Raises UsageError for an impossible ``split`` and
    DataError when a class would be left without a clip to train on.
    """
    check_split(split)
    groups = _groups(rows, names, split.group)
    units = groups or [f"{name} {row.start_s} {row.end_s}" for name, row in zip(names, rows, strict=True)]
    classes = [row.labels[0] for row in rows]
    if split.folds:
        held = _fold(units, classes, split)
    elif groups:
        held = _random_groups(units, classes, split)
    else:
        held = _random_clips(units, classes, split)
    if not held:
        raise DataError("Nothing can be held out: some class would have no clip left to train on. Add clips or groups.")
    done = tuple(
        replace(row, split="val" if unit in held else "train", group=group)
        for row, unit, group in zip(rows, units, groups or [row.group for row in rows], strict=True)
    )
    return done, _sentence(done, split, bool(groups))


def check_split(split: SplitConfig) -> None:
    """Raises UsageError for a split that no data could satisfy."""
    if not 0 < split.val_fraction < 1:
        raise UsageError(f"--split.val-fraction {split.val_fraction}: give a share between 0 and 1, such as 0.2.")
    if split.folds < 0 or split.folds == 1:
        raise UsageError(f"--split.folds {split.folds}: give 2 or more, or 0 for one random split.")
    if split.folds and not 0 <= split.fold < split.folds:
        raise UsageError(f"--split.fold {split.fold}: {split.folds} folds are numbered 0 to {split.folds - 1}.")
    _pattern(split.group)


def refuse_options(split: SplitConfig, why: str) -> None:
    """Raises UsageError when options are given for a split that the set itself brings."""
    if split != SplitConfig():
        raise UsageError(f"{why}, so the --split options do not apply. Leave them out, or give the clips without it.")


def check_train(rows: Iterable[Row], tasks: Mapping[str, tuple[str, ...]]) -> None:
    """Raises DataError for a task with a single class, and for a class that has clips but none to train on.

    A set without any clip to train on is one to evaluate on, and may hold any classes.
    """
    rows = tuple(rows)
    if not any(row.split == "train" for row in rows):
        return
    for index, (task, names) in enumerate(tasks.items()):
        if len(names) < 2:
            raise DataError(f"Only one class ('{''.join(names)}') in '{task}': nothing is to be told apart.")
        missing = set(range(len(names))) - {row.labels[index] for row in rows if row.split == "train"}
        if missing:
            listed = ", ".join(f"'{names[k]}'" for k in sorted(missing)[:3])
            raise DataError(
                f"{len(missing)} labels of '{task}' are not in the class list, because no clip in train has them: "
                f"{listed}. Move such clips to train, or leave them out."
            )


def check_groups(rows: Iterable[Row]) -> None:
    """Raises DataError when the rows of one group stand in several splits."""
    seen: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.group:
            seen[row.group].add(row.split)
    both = {group: splits for group, splits in sorted(seen.items()) if len(splits) > 1}
    if both:
        group, splits = next(iter(both.items()))
        raise DataError(
            f"{len(both)} groups stand on both sides of the split, such as '{group}' in {' and '.join(sorted(splits))}."
            " Put all clips of a group into one split, or leave out the split column."
        )


def _pattern(group: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(group) if group is not None else None
    except re.error as error:
        raise UsageError(f"--split.group '{group}' is not a regular expression: {error}.") from error


def _groups(rows: Sequence[Row], names: Sequence[str], group: str | None) -> list[str] | None:
    pattern = _pattern(group)
    if pattern is not None:
        return _matched(pattern, names)
    if any(row.group for row in rows):
        return [row.group or name for row, name in zip(rows, names, strict=True)]
    return list(names) if len(set(names)) < len(names) else None


def _matched(pattern: re.Pattern[str], names: Sequence[str]) -> list[str]:
    found = [pattern.search(name) for name in names]
    missed = [name for name, match in zip(names, found, strict=True) if match is None]
    if missed:
        raise UsageError(
            f"--split.group '{pattern.pattern}' matches {len(names) - len(missed)} of {len(names)} clips, and not "
            f"'{missed[0]}'. It is searched in the path below the root, and each clip needs a group."
        )
    return ["/".join(match.groups("")) if any(match.groups()) else match.group() for match in found if match]


def _rank(seed: int, unit: str) -> str:
    return hashlib.sha256(f"{seed}:{unit}".encode(errors="surrogateescape")).hexdigest()


def _fold(units: Sequence[str], classes: Sequence[int], split: SplitConfig) -> set[str]:
    """Units dealt out in turn: sorted by their first class, so that classes spread over the folds."""
    first: dict[str, int] = {}
    for unit, label in zip(units, classes, strict=True):
        first[unit] = min(label, first.get(unit, label))
    if len(first) < split.folds:
        raise UsageError(f"--split.folds {split.folds}: there are only {len(first)} groups or clips to divide.")
    order = sorted(first, key=lambda unit: (first[unit], _rank(split.seed, unit)))
    return set(order[split.fold :: split.folds])


def _random_clips(units: Sequence[str], classes: Sequence[int], split: SplitConfig) -> set[str]:
    """The same share of every class, but at least one clip on each side; a class of one clip is trained on."""
    by_class: dict[int, set[str]] = defaultdict(set)
    for unit, label in zip(units, classes, strict=True):
        by_class[label].add(unit)
    held: set[str] = set()
    for members in by_class.values():
        count = min(max(1, round(split.val_fraction * len(members))), len(members) - 1)
        held |= set(sorted(members, key=lambda unit: _rank(split.seed, unit))[:count])
    return held


def _random_groups(units: Sequence[str], classes: Sequence[int], split: SplitConfig) -> set[str]:
    """A share of the groups: first such that bring in a class that is not held out yet, then any.

    A group whose clips are the last of a class stays in train.
    """
    members: dict[str, Counter[int]] = defaultdict(Counter)
    for unit, label in zip(units, classes, strict=True):
        members[unit][label] += 1
    if len(members) < 2:
        raise DataError(
            f"All clips are of one group ('{units[0]}'): nothing can be held out. Give another --split.group."
        )
    order = sorted(members, key=lambda unit: _rank(split.seed, unit))
    wanted = min(max(1, round(split.val_fraction * len(order))), len(order) - 1)
    left, held, covered = Counter(classes), set[str](), set[int]()
    for only_new in (True, False):
        for unit in order:
            useful = not only_new or set(members[unit]) - covered
            spared = all(left[label] > count for label, count in members[unit].items())
            if len(held) < wanted and unit not in held and useful and spared:
                held.add(unit)
                covered |= set(members[unit])
                left -= members[unit]
    return held


def _sentence(rows: Sequence[Row], split: SplitConfig, grouped: bool) -> str:
    counts = Counter(row.split for row in rows)
    groups = {side: len({row.group for row in rows if row.split == side}) for side in ("train", "val")}
    sizes = f"{counts['train']} clips to train on, {counts['val']} held out"
    if grouped:
        sizes += f" ({groups['train']} and {groups['val']} groups, none on both sides)"
    if split.folds:
        return f"Split: fold {split.fold} of {split.folds} is held out, seed {split.seed}: {sizes}."
    how = "of the groups" if grouped else "of each class"
    return f"Split at random, {split.val_fraction:.0%} {how}, seed {split.seed}: {sizes}."
