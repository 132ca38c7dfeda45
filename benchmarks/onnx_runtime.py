"""What computes the decoder's vector of a history soonest on a CPU: torch, torch.compile, ONNX Runtime, the same in int8.

    pip install onnx onnxruntime
    python benchmarks/onnx_runtime.py --model artifacts/models/decoder-ml-1m-seed0 --data ml-1m     # row: reports/benchmarks/onnx.json

Latency is of one call with histories of 200, at batch 1 and 32, the engines in turns, with its CPU time beside it. Each engine's vectors are compared with
torch's; NDCG@10 on the valid part tells what the rounding costs (the model has to be one that was fit without valid).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--model", default="artifacts/models/decoder-ml-1m-seed0")
parser.add_argument("--data", default="ml-1m", help="for the quality; empty: none")
parser.add_argument("--threads", type=int, default=1, help="with one, CPU time is the time of a quiet machine")
parser.add_argument("--length", type=int, default=200)
parser.add_argument("--repeats", type=int, default=200, help="calls at batch 1; a quarter of it at batch 32")
parser.add_argument("--out", type=Path, default=ROOT / "reports/benchmarks")
args = parser.parse_args()
os.environ |= {"OMP_NUM_THREADS": str(args.threads), "OMP_WAIT_POLICY": "PASSIVE", "MOVIEREC_PROGRESS": "0"}

import numpy as np  # noqa: E402
import torch  # noqa: E402

from onnx_export import Last, export, session  # noqa: E402

import movierec.layers as layers  # noqa: E402
import movierec.models.decoder as decoder  # noqa: E402
from movierec.data.datasets import load_dataset  # noqa: E402
from movierec.data.split import make_split  # noqa: E402
from movierec.evaluate import evaluate, origin  # noqa: E402
from movierec.models.registry import load_model  # noqa: E402
from movierec.service.settings import limit_threads  # noqa: E402


def by_torch(net):
    return lambda *asked: decoder_last(net, *asked)


def compiled(net):
    "Compiled for any batch and length, with attention in one part, as in the graph; the first calls are slow."
    run = torch.compile(Last(net).eval(), dynamic=True)

    def ask(x, times, asked, n):
        with torch.inference_mode(), patch.object(layers, "ROWS", 1 << 30):
            return run(*(torch.from_numpy(a) for a in (x, times, asked, n - 1))).numpy()

    return ask


def in_int8(path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    out = path.with_suffix(".int8.onnx")
    quantize_dynamic(path, out, op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QInt8, per_channel=True)
    return out


def make_engines(net, tmp):
    "Name → function; an engine that can't be had is left out, and says why."
    file = tmp / "decoder.onnx"
    made = {
        "torch float32": lambda: by_torch(net),
        "torch.compile": lambda: compiled(net),
        "ONNX Runtime float32": lambda: session(export(net, file), args.threads),
        "ONNX Runtime int8": lambda: session(in_int8(file), args.threads),
    }
    engines, missing, x = {}, {}, np.ones((2, 3), np.int64)
    for name, make in made.items():
        try:
            ask = make()
            ask(x, 0 * x, 0 * x, np.array([3, 2]))
            engines[name] = ask
        except Exception as e:
            missing[name] = f"{type(e).__name__}: {str(e).splitlines()[0][:200] if str(e) else ''}"
            print(f"{name}: left out ({missing[name]})", flush=True)
    return engines, missing


def questions(model, batch, rng):
    "`(x, times, asked, lengths)` of histories of full length, without times."
    x = rng.integers(1, len(model.item_ids) + 1, (batch, args.length)).astype(np.int64)
    return x, 0 * x, 0 * x, np.full(batch, args.length, np.int64)


def latency(engines, model):
    "Rows of times; the engines take turns, so that what else happens on the machine befalls all."
    rows, rng = [], np.random.default_rng(0)
    for batch, repeats in ((1, args.repeats), (32, max(5, args.repeats // 4))):
        took, diff = {name: [] for name in engines}, dict.fromkeys(engines, 0.0)
        for i in range(repeats + 3):
            asked = questions(model, batch, rng)
            right = decoder_last(model.net, *asked)
            for name, ask in engines.items():
                began, used = time.perf_counter(), time.process_time()
                got = ask(*asked)
                if i >= 3:
                    took[name].append((1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - used)))
                diff[name] = max(diff[name], float(np.abs(got - right).max()))
        for name, t in took.items():
            p50, p95 = np.percentile([wall for wall, _ in t], (50, 95))
            cpu = float(np.median([c for _, c in t]))
            rows.append(dict(engine=name, batch=batch, p50_ms=round(p50, 3), p95_ms=round(p95, 3), cpu_ms=round(cpu, 3), largest_difference=diff[name]))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def quality(engines, model, data):
    "NDCG@10 on valid of each engine."
    split, out = make_split(data, "leave-last-out"), {}
    for name, ask in engines.items():
        decoder.last_vectors = lambda net, *asked, ask=ask: ask(*asked)
        began = time.perf_counter()
        metric = evaluate(model, split, "valid", dataset=data).row["metrics"]["NDCG@10"]
        out[name] = {"NDCG@10": metric["value"], "seconds": round(time.perf_counter() - began, 1)}
        print(name, out[name], flush=True)
    decoder.last_vectors = decoder_last
    return out


decoder_last = decoder.last_vectors


def main():
    limit_threads(args.threads)
    model = load_model(args.model)
    with tempfile.TemporaryDirectory() as folder:
        engines, missing = make_engines(model.net, Path(folder))
        rows = latency(engines, model)
        data = load_dataset(args.data) if args.data else None
        told = quality(engines, model, data) if data else {}
    versions = {m: getattr(sys.modules.get(m), "__version__", None) for m in ("onnx", "onnxruntime", "torch")}
    row = dict(
        benchmark="onnx", model=Path(args.model).name, dataset=args.data, users=len(np.unique(data.interactions.user_id)) if data else 0,
        history=args.length, threads=args.threads, repeats=args.repeats, rows=rows, missing=missing, quality=told,
        cores=os.cpu_count(), load_average=round(os.getloadavg()[0], 1), engines=versions, **origin(),
    )  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "onnx.json").write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
