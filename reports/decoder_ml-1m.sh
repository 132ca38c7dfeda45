#!/usr/bin/env bash
# The headline: the decoder on MovieLens 1M, three seeds, leave-last-out. Trains, measures valid and test, makes the tables.
#     bash reports/decoder_ml-1m.sh [first seed] [last seed]      (default 0 2; about 20 minutes a seed on one core)
# One thread a run: two can share two cores, and floating-point sums come in the same order everywhere.
# A run that was stopped goes on from its last checkpoint when the same command is given again.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
for seed in $(seq "${1:-0}" "${2:-2}"); do
    out=$models/decoder-ml-1m-seed$seed
    [ -f "$out/manifest.json" ] || "$movierec" train decoder --data ml-1m --seed "$seed" --device cpu --out "$out"
    mkdir -p reports/runs; cp "$out.run/log.csv" "reports/runs/decoder-ml-1m-seed$seed.csv"
    for part in valid test; do
        "$movierec" evaluate "$out" --data ml-1m --split $part --seed "$seed" --save reports/results
    done
done
"$movierec" report
