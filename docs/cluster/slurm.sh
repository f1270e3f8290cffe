#!/bin/bash
# Engram on SLURM: Ray on all nodes of one job, and `engram run` on the first of them.
#
#     sbatch docs/cluster/slurm.sh glr-rotated
#
# Before the time limit the sweep is stopped and the job put back into the queue, as SLURM itself
# does where a node is lost; what has finished is kept, and trials go on from their last task.
#SBATCH --job-name=engram
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=engram-%j.log

set -uo pipefail
set -m # a process in the background gets signals of its own, and takes SIGINT

cd "$SLURM_SUBMIT_DIR" || exit
source .venv/bin/activate
export ENGRAM_RESULTS=${ENGRAM_RESULTS:-$PWD/results} # on a file system that all nodes share
export ENGRAM_DATA=${ENGRAM_DATA:-$PWD/data}          # prepared before, where there is a network
export RAY_AUTH_MODE=token                            # ~/.ray/auth_token, which nodes share too
export RAY_TMPDIR=/tmp/ray-$SLURM_JOB_ID

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(hostname --ip-address | awk '{print $1}')
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ] && [[ $address == 127.* ]]; then
    address=$(hostname --all-ip-addresses | awk '{print $1}')
fi
port=$((20000 + SLURM_JOB_ID % 10000))
cpus=${SLURM_CPUS_PER_TASK:-1}
[ -f ~/.ray/auth_token ] || ray get-auth-token --generate > /dev/null

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$address" --port="$port" --num-cpus="$cpus" \
    --include-dashboard=false --block &
until ray status --address="$address:$port" > /dev/null 2>&1; do
    kill -0 %1 2> /dev/null || exit 1
    sleep 2
done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    workers=$((SLURM_JOB_NUM_NODES - 1))
    srun --nodes="$workers" --ntasks="$workers" --exclude="$head" \
        ray start --address="$address:$port" --num-cpus="$cpus" --block &
fi

RAY_ADDRESS=$address:$port engram run "$@" &
sweep=$!
requeue=
trap 'requeue=yes; kill -INT "$sweep"' USR1
while kill -0 "$sweep" 2> /dev/null; do
    wait "$sweep"
    status=$?
done

kill $(jobs -p) 2> /dev/null
if [ -n "$requeue" ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
