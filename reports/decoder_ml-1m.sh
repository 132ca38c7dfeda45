#!/usr/bin/env bash
# The headline: the decoder on MovieLens 1M, leave-last-out. Settings are chosen on valid, with a model that learned from train
# (label `decoder`, the first seed); the models that are measured on test then learn from train and valid (`decoder-all`), so that
# the last thing they know of a user is the film before the hidden one.
#     bash reports/decoder_ml-1m.sh [first seed] [last seed]      (default 0 2; some twenty minutes a model on a busy core)
# One thread a run: two can share two cores, and floating-point sums come in the same order everywhere.
# A run that was stopped goes on from its last checkpoint when the same command is given again.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
model() {  # label, seed, what else to say to train
    out=$models/$1-ml-1m-seed$2
    [ -f "$out/manifest.json" ] || "$movierec" train decoder --data ml-1m --seed "$2" --device cpu --out "$out" "${@:3}"
    mkdir -p reports/runs; cp "$out.run/log.csv" "reports/runs/$1-ml-1m-seed$2.csv"
}
model decoder "${1:-0}"
"$movierec" evaluate "$models/decoder-ml-1m-seed${1:-0}" --data ml-1m --split valid --seed "${1:-0}" --label decoder --save reports/results
"${movierec%movierec}python" reports/search_decoder.py "$models/decoder-ml-1m-seed${1:-0}"
for seed in $(seq "${1:-0}" "${2:-2}"); do
    model decoder-all "$seed" --with-valid
    "$movierec" evaluate "$models/decoder-all-ml-1m-seed$seed" --data ml-1m --split test --seed "$seed" --label decoder-all --save reports/results
done
out=$models/decoder-ml-1m-temporal-seed${1:-0}    # one cut in time instead of everybody's last film
[ -f "$out/manifest.json" ] || "$movierec" train decoder --data ml-1m --protocol temporal --seed "${1:-0}" --device cpu --out "$out"
"$movierec" evaluate "$out" --data ml-1m --protocol temporal --split test --seed "${1:-0}" --label decoder --save reports/results
"$movierec" report
