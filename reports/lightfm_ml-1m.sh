#!/usr/bin/env bash
# LightFM on MovieLens 1M: hybrid and plain CF, leave-last-out; the hybrid cut in time. Cold films, cold viewers and the rows of viewers
# looked up are made by the slow cells of nbs/43_models.lightfm.ipynb.
#     bash reports/lightfm_ml-1m.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models

measure() {  # measure LABEL PROTOCOL FOLDER [SETTINGS …]: train, then evaluate valid and test
    local label=$1 protocol=$2 out=$models/$3; shift 3
    "$movierec" train lightfm --data ml-1m --protocol "$protocol" --out "$out" "$@"
    for part in valid test; do
        "$movierec" evaluate "$out" --data ml-1m --protocol "$protocol" --split $part --label "$label" --save reports/results
    done
}
measure lightfm leave-last-out lightfm-ml-1m
measure lightfm-cf leave-last-out lightfm-cf-ml-1m --set item_features=false --set user_features=false
measure lightfm temporal lightfm-temporal-ml-1m
