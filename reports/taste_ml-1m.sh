#!/usr/bin/env bash
# The taste model on MovieLens 1M, leave-last-out: the model, and what each of its parts is worth. Trains, measures, makes the tables.
#     bash reports/taste_ml-1m.sh [seed]      (default 0; half an hour of one core a variant)
# All variants are measured on valid. Test is measured for the three of the ablation, once each.
# A run that was stopped goes on from its last checkpoint when the same command is given again.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
seed=${1:-0}

run() {  # label, parts of the split to measure, settings
    local label=$1 parts=$2 out=$models/$1-ml-1m-seed$seed; shift 2
    [ -f "$out/manifest.json" ] || "$movierec" train taste --data ml-1m --seed "$seed" --device cpu --out "$out" "$@"
    mkdir -p reports/runs; cp "$out.run/log.csv" "reports/runs/$label-ml-1m-seed$seed.csv"
    for part in $parts; do
        "$movierec" evaluate "$out" --data ml-1m --split "$part" --seed "$seed" --label "$label" --save reports/results
    done
}
run taste "valid test"
run taste-none "valid test" --set taste=false
run taste-mlp "valid test" --set scorer=mlp --set loss=sampled
run taste-sampled "valid" --set loss=sampled
out=$models/taste-ml-1m-temporal-seed$seed        # one cut in time instead of everybody's last film
[ -f "$out/manifest.json" ] || "$movierec" train taste --data ml-1m --protocol temporal --seed "$seed" --device cpu --out "$out"
"$movierec" evaluate "$out" --data ml-1m --protocol temporal --split test --seed "$seed" --label taste --save reports/results
"$movierec" report
