#!/bin/bash
# Two machines with four GPUs each: sbatch docs/examples/slurm.sh
#SBATCH --job-name=kinelite
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4          # one process per GPU; as many on each machine
#SBATCH --gpus-per-node=4            # not --gpus-per-task: that hides a process's GPU from the others
#SBATCH --cpus-per-task=8            # each process decodes clips on all but one of these
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120            # two minutes before the end: finish the step, write a checkpoint, stop
#SBATCH --requeue                    # the same command continues from there
#SBATCH --open-mode=append

# The run folder and the clips lie on a disk that all machines see under the same path.
export OMP_NUM_THREADS=1
# The address at which the processes meet is that of the first machine; a port of its own for each job.
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((15000 + SLURM_JOB_ID % 10000))

# --kill-on-bad-exit: when one process ends with an error, the others do not wait for it.
srun --kill-on-bad-exit=1 kinelite train sfa --data kinetics400:/data/k400 --model vivit_fe_b --pretrained hub \
    --frames 32 --batch 256 --out /shared/runs/k400
