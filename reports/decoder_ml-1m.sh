#!/usr/bin/env bash
# The headline: the decoder on MovieLens 1M, three seeds, leave-last-out. Settings and epochs were chosen on valid (the rows
# of label `decoder`, made by the same line without --with-valid); the model that is measured on test then learns from train
# and valid, so that the last thing it knows of a user is the film before the hidden one.
#     bash reports/decoder_ml-1m.sh [first seed] [last seed]      (default 0 2; about 15 minutes a seed on one core)
# One thread a run: two can share two cores, and floating-point sums come in the same order everywhere.
# A run that was stopped goes on from its last checkpoint when the same command is given again.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
for seed in $(seq "${1:-0}" "${2:-2}"); do
    out=$models/decoder-all-ml-1m-seed$seed
    [ -f "$out/manifest.json" ] || "$movierec" train decoder --data ml-1m --with-valid --seed "$seed" --device cpu --out "$out"
    mkdir -p reports/runs; cp "$out.run/log.csv" "reports/runs/decoder-all-ml-1m-seed$seed.csv"
    "$movierec" evaluate "$out" --data ml-1m --split test --seed "$seed" --label decoder-all --save reports/results
done
"$movierec" report
