#!/usr/bin/env bash
# The floor: random, popular, recent, top-rated and the Markov chains on MovieLens 1M, leave-last-out and cut in time.
#     bash reports/baselines_ml-1m.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models

measure() {  # measure LABEL PROTOCOL MODEL [SETTINGS …]: train, then evaluate valid and test
    local label=$1 protocol=$2 out=$models/$1-ml-1m-$2; shift 2
    "$movierec" train "$@" --data ml-1m --protocol "$protocol" --out "$out"
    for part in valid test; do
        "$movierec" evaluate "$out" --data ml-1m --protocol "$protocol" --split $part --label "$label" --save reports/results
    done
}
for protocol in leave-last-out temporal; do
    for name in random popular recent top-rated markov; do measure $name $protocol $name; done
    measure markov-first-order $protocol markov --set window=1
done
"$movierec" report
