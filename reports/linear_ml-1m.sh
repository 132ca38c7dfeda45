#!/usr/bin/env bash
# EASE and ALS on MovieLens 1M: valid and test of leave-last-out, test of the temporal split. Minutes on one core.
#     bash reports/linear_ml-1m.sh
# Settings were chosen on valid by reports/search_linear.py, most are the defaults; "-set": nothing fades; "-order": learns what comes next.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
run() {   # label, model, protocol, parts, settings…
    local label=$1 model=$2 protocol=$3 parts=$4 out; shift 4
    out=$models/$label-ml-1m$([ "$protocol" = leave-last-out ] || echo "-$protocol")
    "$movierec" train "$model" --data ml-1m --protocol "$protocol" --out "$out" "$@"
    for part in $parts; do
        "$movierec" evaluate "$out" --data ml-1m --protocol "$protocol" --split "$part" --label "$label" --save reports/results
    done
}
for protocol in leave-last-out temporal; do
    parts=$([ "$protocol" = leave-last-out ] && echo "valid test" || echo test)
    run ease "ease" "$protocol" "$parts"
    run ease-set "ease" "$protocol" "$parts" --set half_life=null
    run ease-order "ease" "$protocol" "$parts" --set order=true --set regularization=300 --set half_life=4
    run als "als" "$protocol" "$parts"
    run als-set "als" "$protocol" "$parts" --set half_life=null
done
