#!/usr/bin/env bash
# The decoder's switches on MovieLens 1M, one change at a time: short trainings (6 epochs instead of 22 and histories of 200, each with its whole
# schedule), one seed, judged on valid, without and with the time of the request. Labels `ablation-…`; test isn't read.
#     bash reports/decoder_ablation.sh [variant …]      (default: all; some six minutes a variant on one core)
# A run that was stopped goes on from its last checkpoint when the same command is given again.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
declare -A change=(
    [base]="" [no-metadata]="metadata=" [genres]="metadata=genres" [large-steps]="batch_tokens=5000" [small-steps]="batch_tokens=1250" [seen]="unseen=false"
    [never-hidden]="hide_time=0" [no-bias]="bias=" [no-memory]="memory=0" [gated]="gated=true" [hstu]="block=hstu n_layers=4" [cosine]="head=cosine"
    [smoothing]="label_smoothing=0.1" [ahead]="ahead=0.2" [ema]="ema=0.999" [rotary]="position=rotary" [swiglu]="feed=swiglu" [rms]="norm=rms"
    [no-item-bias]="item_bias=false" [no-position]="position=" [wide]="embedding_dim=192 n_heads=6" [deep]="n_layers=4" [long]="max_len=400" [longer]="max_len=300"
)
[ $# -gt 0 ] || set -- base no-metadata genres large-steps small-steps seen never-hidden no-bias gated hstu cosine smoothing ahead ema rotary swiglu rms \
    no-item-bias no-position wide deep longer long no-memory
for name in "$@"; do
    out=$models/ablation-$name-ml-1m-seed0; settings=(--set max_len=200)
    for s in ${change[$name]}; do settings+=(--set "$s"); done
    [ -f "$out/manifest.json" ] || "$movierec" train decoder --data ml-1m --seed 0 --device cpu --epochs 6 --out "$out" ${settings[@]+"${settings[@]}"}
    mkdir -p reports/runs; cp "$out.run/log.csv" "reports/runs/ablation-$name-ml-1m-seed0.csv"
    for told in "" --query-time; do
        "$movierec" evaluate "$out" --data ml-1m --split valid --seed 0 --label "ablation-$name" --save reports/results $told
    done
done
