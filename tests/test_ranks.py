"""What torchrun and srun say in the environment, and what a process makes of it."""

from __future__ import annotations

import pytest

from kinelite.data.loader import EpochBatches, Share
from kinelite.errors import UsageError
from kinelite.ranks import Ranks, find_ranks

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_NTASKS": "8",
}


def test_torchrun_and_srun_are_understood() -> None:
    assert find_ranks(TORCHRUN) == Ranks(5, 8, 1, 4, "torchrun")
    assert find_ranks(SRUN) == Ranks(5, 8, 1, 4, "srun")
    assert find_ranks(TORCHRUN).machines == find_ranks(SRUN).machines == 2
    # torchrun inside of a SLURM job is the one that started this process.
    assert find_ranks(SRUN | TORCHRUN | {"RANK": "6", "LOCAL_RANK": "2"}).rank == 6


def test_one_process_is_alone() -> None:
    assert find_ranks({}) == Ranks()
    assert find_ranks(TORCHRUN | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}) == Ranks()
    # The script of sbatch itself runs outside of any step.
    assert find_ranks({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}) == Ranks()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="RANK is 'x'"):
        find_ranks(TORCHRUN | {"RANK": "x"})
    with pytest.raises(UsageError, match="evenly"):
        find_ranks(TORCHRUN | {"WORLD_SIZE": "7"})


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("whole", [True, False])
def test_the_shares_are_all_clips_once(ranks: int, whole: bool) -> None:
    alone = [[key.index for key in keys] for keys in EpochBatches(13, 4, 7, shuffle=True, epoch=3)]
    shares = [list(EpochBatches(13, 4, 7, True, 3, share=Share(rank, ranks, whole))) for rank in range(ranks)]
    if whole:
        for number, batch in enumerate(alone):
            assert [key.index for key in shares[number % ranks][number // ranks]] == batch
        assert sum(map(len, shares)) == len(alone)
    else:
        parts = [[key.index for share in shares for key in share[number]] for number in range(len(alone))]
        assert parts == alone
