#!/usr/bin/env bash
# A real Slurm of one node, started for this script alone: a folder as a job array, a folder and a sweep through Hydra's
# launcher, and what a job does that Slurm ends. `scripts/slurm_smoke.sh` needs root and Debian's slurm-wlm and munge
# (apt-get install slurm-wlm munge); without them it says so and ends with 77, which test harnesses read as "skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
FOCVS=${FOCVS:-.venv/bin/focvs}
PYTHON=${PYTHON:-.venv/bin/python}
export PATH="$PATH:/usr/sbin"

skip() { echo "skipped: $1" >&2; exit 77; }
[ "$(id -u)" = 0 ] || skip "Slurm's daemons are started by root"
for tool in munged slurmctld slurmd sbatch; do
    command -v "$tool" > /dev/null || skip "$tool is not installed (apt-get install slurm-wlm munge)"
done
"$PYTHON" -c "import hydra_plugins.hydra_submitit_launcher" 2> /dev/null || skip "pip install 'focvs[launchers]'"

WORK=$(mktemp -d /tmp/focvs-slurm.XXXXXX)
HOST=$(hostname -s)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2> /dev/null || true; done
    pkill -F "$WORK/munge.pid" 2> /dev/null || true
    wait 2> /dev/null || true
    rm -rf "$WORK"
}
trap finish EXIT

mkdir -p "$WORK/spool" "$WORK/state" "$WORK/study" "$WORK/munge" /run/munge
chmod 755 "$WORK" /run/munge
chown munge: "$WORK/munge" /run/munge 2> /dev/null || true
[ -f /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none; chown munge: /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
pgrep -x munged > /dev/null || su -s /bin/sh munge -c "munged --force --log-file=$WORK/munge/log --pid-file=$WORK/munge/pid --seed-file=$WORK/munge/seed" \
    || skip "munged does not start here"
cat > "$WORK/slurm.conf" << CONF
ClusterName=focvs
SlurmctldHost=$HOST
SlurmUser=root
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmdPidFile=$WORK/slurmd.pid
StateSaveLocation=$WORK/state
SlurmdSpoolDir=$WORK/spool
SlurmctldLogFile=$WORK/slurmctld.log
SlurmdLogFile=$WORK/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=30
NodeName=$HOST CPUs=$(nproc) RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$WORK/slurm.conf"
slurmctld -D & pids+=($!)
slurmd -D & pids+=($!)
for _ in $(seq 60); do sinfo -h -o %t 2> /dev/null | grep -q idle && break; sleep 0.5; done
sinfo -h -o %t | grep -q idle || { tail -5 "$WORK"/slurm*.log >&2; skip "Slurm's node does not come up here"; }
echo "slurm: $(sbatch --version), $(sinfo -h -o '%n: %c cores, %t')"

"$PYTHON" - "$WORK/study" << 'PY'
import sys

import nibabel as nib
import numpy as np

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices

for number in range(3):
    slices = simulate_slices(1000 * head_phantom((56, 64, 60), seed=number)[1], 1.2, gaussian_profile(5.0), 6.0)
    image = nib.Nifti1Image(slices.astype(np.float32), np.diag([1.2, 1.2, 6.0, 1.0]))
    nib.save(image, f"{sys.argv[1]}/s{number}.nii.gz")
PY
QUICK="thickness=5 method=linear figure=false report=false progress=false"
check() { # folder, number of results
    found=$(find "$1" -name 's*_linear.nii.gz' | wc -l)
    left=$(find "$1" -name '.*.lock' -o -name '*.part*' | wc -l)
    [ "$found" = "$2" ] && [ "$left" = 0 ] || { echo "FAILED: $found results and $left leftovers in $1" >&2; exit 1; }
}

for array in 0-2 1-3; do # arrays that count from 0 and from 1 are the whole alike
    sbatch --quiet --wait --array=$array --output="$WORK/array-%a.log" --wrap \
        "$PWD/$FOCVS $WORK/study $WORK/array-$array shard=\$SLURM_ARRAY_TASK_ID/\$SLURM_ARRAY_TASK_COUNT $QUICK"
    check "$WORK/array-$array" 3
    echo "sbatch --array=$array: 3 of 3 scans restored, tables $(cd "$WORK/array-$array" && echo focvs_cohort_*.csv)"
done

"$FOCVS" -m "$WORK/study" "$WORK/hydra" shard=1/3,2/3,3/3 hydra/launcher=slurm hydra.launcher.mem_gb=1 \
    hydra.launcher.cpus_per_task=1 $QUICK 2> "$WORK/hydra.log" || { tail -5 "$WORK/hydra.log" >&2; exit 1; }
check "$WORK/hydra" 3
echo "focvs -m FOLDER shard=1/3,2/3,3/3 hydra/launcher=slurm: 3 of 3 scans restored"

"$PYTHON" - "$WORK/truth.nii.gz" << 'PY'
import sys

import nibabel as nib
import numpy as np

from focvs.acquisition.phantom import head_phantom

nib.save(nib.Nifti1Image(1000 * head_phantom((56, 64, 60), seed=1)[1].astype(np.float32), np.diag([1.2] * 3 + [1])), sys.argv[1])
PY
"$FOCVS" sweep "$WORK/truth.nii.gz" "$WORK/sweep" thickness=4,5 method=linear,spline hydra/launcher=slurm \
    hydra.launcher.mem_gb=1 hydra.launcher.cpus_per_task=1 > "$WORK/sweep.txt" 2> "$WORK/sweep.log" \
    || { tail -5 "$WORK/sweep.log" >&2; exit 1; }
[ "$(wc -l < "$WORK/sweep/results.csv")" = 5 ] || { echo "FAILED: results.csv of the sweep" >&2; exit 1; }
echo "focvs sweep thickness=4,5 method=linear,spline hydra/launcher=slurm: 4 of 4 jobs scored"

# a default run is slow enough to be ended in the middle; the same job sent again goes on
LONG="$PWD/$FOCVS $WORK/study $WORK/ended thickness=5 figure=false report=false progress=false"
job=$(sbatch --parsable --output="$WORK/ended.log" --wrap "exec $LONG")
for _ in $(seq 240); do find "$WORK/ended" -name '.s*.lock' 2> /dev/null | grep -q . && break; sleep 0.25; done
scancel --signal=TERM --batch "$job"
while squeue -h -j "$job" 2> /dev/null | grep -q .; do sleep 0.5; done
code=$(scontrol show job "$job" | sed -n 's/.*ExitCode=\([0-9]*\):.*/\1/p')
[ "$code" = 143 ] || { echo "FAILED: a job ended by SIGTERM ends with $code" >&2; tail -3 "$WORK/ended.log" >&2; exit 1; }
done_before=$(find "$WORK/ended" -name 's*_focvs.json' | wc -l)
left=$(find "$WORK/ended" -name '.*.lock' -o -name '*.part*' | wc -l)
sbatch --quiet --wait --output="$WORK/again.log" --wrap "exec $LONG"
results=$(find "$WORK/ended" -name 's*_focvs.nii.gz' | wc -l)
[ "$results" = 3 ] && [ "$left" = 0 ] || { echo "FAILED: $results results, $left leftovers" >&2; exit 1; }
echo "SIGTERM from Slurm: exit 143, $done_before of 3 scans done, nothing left behind; sent again: 3 of 3"
