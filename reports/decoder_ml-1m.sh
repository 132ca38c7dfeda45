#!/usr/bin/env bash
# The headline: the decoder on MovieLens 1M, leave-last-out. Settings are chosen on valid, with a model that learned from train
# (label `decoder`, the first seed); the models that are measured on test then learn from train and valid (`decoder-all`), so that
# the last thing they know of a user is the film before the hidden one. Each is asked twice: without the time of the request, and with it
# (rows marked query_time).
#     bash reports/decoder_ml-1m.sh [first seed] [last seed]      (default 0 2; ten to twenty minutes a model on one core)
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
measure() {  # label, seed, part, what else to say to evaluate
    "$movierec" evaluate "$models/$1-ml-1m-seed$2" --data ml-1m --split "$3" --seed "$2" --label "$1" --save reports/results "${@:4}"
}
first=${1:-0}
model decoder "$first"
measure decoder "$first" valid
measure decoder "$first" valid --query-time
"${movierec%movierec}python" reports/search_decoder.py "$models/decoder-ml-1m-seed$first"
for seed in $(seq "$first" "${2:-2}"); do
    model decoder-all "$seed" --with-valid
    measure decoder-all "$seed" test
    measure decoder-all "$seed" test --query-time
done
# What its parts are worth, on valid, each without all that came after it: films known by their number only, larger steps, histories of 200 (`-ids`); a softmax over
# seen films, too; without the clock; the time of the request as an input, but no bias of attention.
ids=(--set metadata= --set batch_tokens=5000 --set max_len=200 --set epochs=26)
model decoder-ids "$first" "${ids[@]}"
measure decoder-ids "$first" valid
measure decoder-ids "$first" valid --query-time
model decoder-seen "$first" "${ids[@]}" --set unseen=false --set memory=0.2
measure decoder-seen "$first" valid
measure decoder-seen "$first" valid --query-time
model decoder-untimed "$first" "${ids[@]}" --set unseen=false --set bias= --set query_time=false --set memory=0.3
measure decoder-untimed "$first" valid
model decoder-no-bias "$first" "${ids[@]}" --set unseen=false --set bias= --set hide_time=0.3 --set memory=0.3
measure decoder-no-bias "$first" valid
measure decoder-no-bias "$first" valid --query-time
protocol() {  # label, data, protocol, seed, what else to say to train: other questions, the same settings
    out=$models/$1-$2-$3-seed$4
    [ -f "$out/manifest.json" ] || "$movierec" train decoder --data "$2" --protocol "$3" --seed "$4" --device cpu --out "$out" "${@:5}"
    for told in "" --query-time; do
        "$movierec" evaluate "$out" --data "$2" --protocol "$3" --split test --seed "$4" --label "$1" --save reports/results $told
    done
}
protocol decoder ml-1m temporal "$first" --epochs 12                            # one cut in time instead of everybody's last film
protocol decoder-all ml-1m leave-last-out-5core "$first" --with-valid --epochs 12  # films with five ratings or more, which other papers use
protocol decoder-all ml-100k leave-last-out "$first" --with-valid
protocol decoder-all ml-latest-small leave-last-out "$first" --with-valid
"$movierec" report
