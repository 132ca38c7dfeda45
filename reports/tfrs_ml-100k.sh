#!/usr/bin/env bash
# The two towers on ML-100K's five published folds, ids only and with side features. Trains, measures valid and test,
# makes the tables.
#     bash reports/tfrs_ml-100k.sh       (fit_seconds are in the rows)
# A model that is there already isn't trained again.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
for fold in 1 2 3 4 5; do
    for model in tfrs tfrs-side; do
        out=$models/$model-ml-100k-u$fold
        [ -f "$out/manifest.json" ] || "$movierec" train $model --data ml-100k --protocol fold-u$fold --out "$out"
        for part in valid test; do
            "$movierec" evaluate "$out" --data ml-100k --protocol fold-u$fold --split $part --save reports/results
        done
    done
done
"$movierec" report
