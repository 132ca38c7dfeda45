#!/usr/bin/env bash
# The rating network: ratings-small (three splits), ML-100K (the five published folds), ML-1M (random 90/10). Minutes on an idle core.
#     bash reports/rating.sh
# Valid rows are of models that learned from train alone; test rows of models that learned from train and valid, for the
# number of epochs that reports/search_rating.py chose on valid.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
run() {   # dataset, protocol, seed
    local out=$models/rating-$1-$2-$3
    "$movierec" train rating --data "$1" --protocol "$2" --seed "$3" --out "$out-valid"
    "$movierec" evaluate "$out-valid" --data "$1" --protocol "$2" --split valid --seed "$3" --save reports/results
    "$movierec" train rating --data "$1" --protocol "$2" --seed "$3" --with-valid --out "$out"
    "$movierec" evaluate "$out" --data "$1" --protocol "$2" --split test --seed "$3" --save reports/results
}
for seed in 0 1 2; do run ratings-small random-90-10 $seed; done
for fold in 1 2 3 4 5; do run ml-100k fold-u$fold 0; done
run ml-1m random-90-10 0
