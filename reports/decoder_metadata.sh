#!/usr/bin/env bash
# Ablation: what do genres and the year add to the id embeddings? ML-100K, three seeds each, judged on valid.
#     bash reports/decoder_metadata.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
movierec=${MOVIEREC:-.venv/bin/movierec}
models=${MOVIEREC_HOME:-artifacts}/models
for seed in 0 1 2; do
    for metadata in "" genres genres,year; do
        label=decoder-$(echo "${metadata:-ids}" | tr , -)
        out=$models/$label-ml-100k-seed$seed
        [ -f "$out/manifest.json" ] || "$movierec" train decoder --data ml-100k --seed "$seed" --device cpu --epochs 40 --set "metadata=$metadata" --out "$out"
        "$movierec" evaluate "$out" --data ml-100k --split valid --seed "$seed" --label "$label" --save reports/results
    done
done
"$movierec" report
