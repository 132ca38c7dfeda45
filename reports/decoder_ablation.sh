#!/usr/bin/env bash
# The decoder's other switches on MovieLens 1M, one change at a time: short trainings (10 epochs instead of 26, each with its whole
# schedule), one seed, judged on valid, without and with the time of the request. Labels `ablation-…`; test isn't read.
#     bash reports/decoder_ablation.sh [variant …]      (default: all; five to ten minutes a variant on one core)
# A run that was stopped goes on from its last checkpoint when the same command is given again.
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
declare -A change=(
    [base]="" [gated]="gated=true" [hstu]="block=hstu n_layers=4" [cosine]="head=cosine" [smoothing]="label_smoothing=0.1"
    [metadata]="metadata=genres,year" [swiglu]="feed=swiglu" [rms]="norm=rms" [rotary]="position=rotary" [no-position]="position="
    [never-hidden]="hide_time=0" [unseen]="unseen=true"   # the settings have this since it was measured here
    [ahead]="ahead=0.2" [ema]="ema=0.999" [no-item-bias]="item_bias=false" [wide]="embedding_dim=192 n_heads=6"
)
[ $# -gt 0 ] || set -- base unseen never-hidden ahead gated hstu cosine smoothing metadata ema rotary swiglu rms no-item-bias no-position wide
for name in "$@"; do
    out=$models/ablation-$name-ml-1m-seed0; settings=(--set unseen=false --set memory=0.2)
    for s in ${change[$name]}; do settings+=(--set "$s"); done
    [ -f "$out/manifest.json" ] || "$movierec" train decoder --data ml-1m --seed 0 --device cpu --epochs 10 --out "$out" ${settings[@]+"${settings[@]}"}
    mkdir -p reports/runs; cp "$out.run/log.csv" "reports/runs/ablation-$name-ml-1m-seed0.csv"
    for told in "" --query-time; do
        "$movierec" evaluate "$out" --data ml-1m --split valid --seed 0 --label "ablation-$name" --save reports/results $told
    done
done
