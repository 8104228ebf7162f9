from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinelite.config import SplitConfig
from kinelite.data.manifest import Row
from kinelite.data.split import check_groups, check_train, hold_out
from kinelite.errors import DataError, UsageError

labels_of = st.lists(st.integers(0, 3), min_size=4, max_size=40).map(lambda extra: [0, 0, 1, 1, *extra])
fractions = st.floats(0.05, 0.95)
seeds = st.integers(0, 1000)


def clips(labels: list[int]) -> tuple[list[Row], list[str]]:
    names = [f"class{label}/{i}.mp4" for i, label in enumerate(labels)]
    return [Row(f"/clips/{name}", (label,), "") for name, label in zip(names, labels, strict=True)], names


def sides(rows: tuple[Row, ...]) -> dict[str, str]:
    return {row.path: row.split for row in rows}


@given(labels_of, fractions, seeds)
def test_every_class_stands_on_both_sides_in_its_share(labels: list[int], fraction: float, seed: int) -> None:
    rows, _ = hold_out(*clips(labels), SplitConfig(val_fraction=fraction, seed=seed))
    for label, count in Counter(labels).items():
        held = sum(row.split == "val" for row in rows if row.labels[0] == label)
        assert held == (min(max(1, round(fraction * count)), count - 1))


@given(labels_of, seeds, st.randoms(use_true_random=False), st.sampled_from([0, 2, 3]))
def test_same_seed_same_split_in_any_order(labels: list[int], seed: int, random: object, folds: int) -> None:
    rows, names = clips(labels)
    split = SplitConfig(seed=seed, folds=folds)
    first = sides(hold_out(rows, names, split)[0])
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert sides(hold_out([rows[i] for i in order], [names[i] for i in order], split)[0]) == first


def test_seeds_differ_and_a_new_clip_moves_few_others() -> None:
    rows, names = clips([0] * 50 + [1] * 50)
    first = sides(hold_out(rows, names, SplitConfig())[0])
    assert first != sides(hold_out(rows, names, SplitConfig(seed=1))[0])
    more = sides(hold_out([*rows, Row("/clips/new", (1,), "")], [*names, "new"], SplitConfig())[0])
    assert sum(more[path] != side for path, side in first.items()) <= 1


grouped = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=3, max_size=60)


@given(grouped, fractions, seeds)
def test_no_group_on_both_sides_and_no_class_without_training(
    pairs: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    names = [f"c{label}/p{group}_{i}.mp4" for i, (label, group) in enumerate(pairs)]
    rows = [Row(name, (label,), "") for name, (label, _) in zip(names, pairs, strict=True)]
    try:
        done, note = hold_out(rows, names, SplitConfig(val_fraction=fraction, group=r"p(\d+)_", seed=seed))
    except DataError:
        return  # one group only, or every group holds the last clips of a class
    splits = defaultdict(set)
    for row, (_, group) in zip(done, pairs, strict=True):
        assert row.group == str(group)
        splits[group].add(row.split)
    assert all(len(side) == 1 for side in splits.values())
    assert {row.labels for row in done if row.split == "train"} == {row.labels for row in rows}
    held = sum(side == {"val"} for side in splits.values())
    assert 1 <= held <= max(1, round(fraction * len(splits)))
    assert f"{len(splits) - held} and {held} groups" in note


def test_held_out_groups_cover_the_classes() -> None:
    """Ten groups, of which only two hold class 1: one of the two is held out at any seed."""
    pairs = [(0, g) for g in range(10)] + [(1, 0), (1, 1)]
    names = [f"p{group}_{label}.mp4" for label, group in pairs]
    rows = [Row(name, (label,), "") for name, (label, _) in zip(names, pairs, strict=True)]
    for seed in range(20):
        done, _ = hold_out(rows, names, SplitConfig(group="p[0-9]+", seed=seed))
        assert {row.labels for row in done if row.split == "val"} == {(0,), (1,)}


@given(labels_of, st.integers(2, 4), seeds, st.booleans())
def test_folds_hold_each_clip_out_once(labels: list[int], folds: int, seed: int, by_group: bool) -> None:
    rows, names = clips(labels)
    group = r"(\d+)\.mp4" if by_group else None
    held = Counter[str]()
    sizes = []
    for fold in range(folds):
        done, note = hold_out(rows, names, SplitConfig(folds=folds, fold=fold, seed=seed, group=group))
        val = [row.path for row in done if row.split == "val"]
        held.update(val)
        sizes.append(len(val))
        assert f"fold {fold} of {folds}" in note
    assert held == {row.path: 1 for row in rows}
    assert max(sizes) - min(sizes) <= 1


def test_parts_of_one_file_stay_together() -> None:
    rows = [Row(f"{file}.mp4", (part % 2,), "", float(part), part + 1.0) for file in "abcdef" for part in range(4)]
    done, note = hold_out(rows, [row.path for row in rows], SplitConfig())
    check_groups(done)
    assert {row.split for row in done} == {"train", "val"}
    assert "none on both sides" in note


def test_rows_own_groups_count_without_a_pattern() -> None:
    rows = [Row(f"{i}.mp4", (i % 2,), "", group=f"g{i // 4}") for i in range(20)]
    done, _ = hold_out(rows, [row.path for row in rows], SplitConfig())
    assert Counter(row.split for row in done) == {"train": 16, "val": 4}
    check_groups(done)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (SplitConfig(val_fraction=0.0), "between 0 and 1"),
        (SplitConfig(val_fraction=1.0), "between 0 and 1"),
        (SplitConfig(folds=1), "2 or more"),
        (SplitConfig(folds=-2), "2 or more"),
        (SplitConfig(folds=3, fold=3), "numbered 0 to 2"),
        (SplitConfig(folds=3, fold=-1), "numbered 0 to 2"),
        (SplitConfig(folds=9), "only 8"),
        (SplitConfig(group="person(\\d"), "not a regular expression"),
        (SplitConfig(group="person(\\d+)"), "matches 0 of 8 clips, and not 'class0/0.mp4'"),
        (SplitConfig(group="class0"), "matches 4 of 8 clips, and not 'class1/4.mp4'"),
    ],
)
def test_impossible_splits_are_usage_errors(split: SplitConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(").replace("\\d", r"\\d").replace("+", r"\+")):
        hold_out(*clips([0] * 4 + [1] * 4), split)


@pytest.mark.parametrize("group", ["class", "(class)"])
def test_a_single_group_cannot_be_divided(group: str) -> None:
    with pytest.raises(DataError, match="one group"):
        hold_out(*clips([0, 0, 1, 1]), SplitConfig(group=group))


def test_nothing_to_hold_out() -> None:
    with pytest.raises(DataError, match="Nothing can be held out"):
        hold_out(*clips([0, 1]), SplitConfig())
    with pytest.raises(DataError, match="Nothing can be held out"):
        hold_out(*clips([0, 0, 1, 1]), SplitConfig(group=r"class\d"))


def test_check_train_and_groups() -> None:
    tasks = {"verb": ("cut", "peel")}
    check_train([Row("a", (0,), "train"), Row("b", (1,), "train")], tasks)
    with pytest.raises(DataError, match=r"not in the class list.*'peel'"):
        check_train([Row("a", (0,), "train"), Row("b", (1,), "val")], tasks)
    with pytest.raises(DataError, match=r"Only one class.*'cut'"):
        check_train([Row("a", (0,), "train")], {"verb": ("cut",)})
    with pytest.raises(DataError, match=r"1 groups stand on both sides.*'p1' in train and val"):
        check_groups([Row("a", (0,), "train", group="p1"), Row("b", (0,), "val", group="p1")])
