"""reports/serving.md from the rows in reports/benchmarks/: python reports/serving.py [--check]

The rows are made by benchmarks/serve.py (which ends by calling this), batch.py, soak.py and onnx_runtime.py. A part whose row isn't there is left out.
"""

import argparse
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
START = dict(uncached_ms=500, cached_ms=5, batch=1000)   # the project we start from: ms a list, users a minute
ELSEWHERE = [  # figures that others publish, each on a machine of its own
    ("nanoRecSys (FastAPI, quantised ONNX, 2 vCPU, 70 % of the lists cached)", "144 requests/s, p50 54 ms, p95 180 ms"),
    ("Serenade (Rust, session kNN, 2 vCPU)", "1,000 requests/s, p90 below 7 ms"),
    ("Metarank (reranking)", "10–30 ms"),
]
SAYS = {
    "bare": "a FastAPI route that gives five numbers",
    "bare-list": "a FastAPI route that gives a checked list of 20",
    "cached": "`GET /recommend`, a list prepared before",
    "uncached": "`POST /recommendation`, a new history each time",
    "repeated": "the same, the history's vector in the cache",
    "recommend": "`POST /recommend`, the taste model",
    "filtered": "`POST /recommend/filtered`, genre and year",
    "pipeline": "`POST /pipeline/recommend`, with reasons",
    "similar": "`POST /similar`",
    "search": "`GET /movies/search`",
    "batch": "`POST /batch/recommend`, 100 users a call",
}
BUSY = 0.7   # share of the measured rate that is planned with, as the autoscaler's target in deploy/k8s


def ms(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def table(head, rows):
    lines = [f"| {' | '.join(map(str, r))} |" for r in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def find(row, case, connections):
    "The numbers of a case at so many connections, or None."
    return next((r for r in row["rows"] if r["case"] == case and r["connections"] == connections), None)


def speed(row):
    "The table of what was measured, and of what machine."
    v, load = row["versions"], row["load_average"]
    shown = ", ".join(f"{k} {v[k]}" for k in ("python", "fastapi", "uvicorn", "uvloop", "httptools", "torch", "wrk") if k in v)
    body = [
        (f"`{r['case']}`: {SAYS[r['case']]}", r["connections"], f"{r['per_second']:,.0f}", ms(r["p50_ms"]), ms(r["p95_ms"]), ms(r["p99_ms"]), r["errors"], ms(r["cpu_ms"]) if r["cpu_ms"] is not None else "–")
        for r in row["rows"]
    ]  # fmt: skip
    return f"""\
Bundle `{row["dataset"]}`, {row["films"]:,} films, histories of {row["history"]}; the list by `{row["model"]}`. {row["seconds"]} s a line.
{row["cores"]} cores ({row["cpu"]}), which the load tool shares with the service; one server process, {row["threads"]} torch thread(s); {shown}.
Load of the machine before: {load[0]} (last minute), {load[1]} (5), {load[2]} (15). Commit {row["commit"][:10]}{", with uncommitted changes" if row["dirty"] else ""}.
CPU ms: what the server process itself used for a request, on all its threads.

{table(["case", "connections", "requests/s", "p50 ms", "p95 ms", "p99 ms", "errors", "CPU ms"], body)}
"""


def mark(ok):
    return "met" if ok else "**missed**"


def bars(row):
    "What was asked for, beside what was measured; lines as `(bar, measured, met)`."
    out, bare, cached = [], find(row, "bare", 1), find(row, "cached", 1)
    if one := find(row, "uncached", 1):
        out.append(("uncached, 1 connection: p50 ≤ 10 ms", f"{ms(one['p50_ms'])} ms", one["p50_ms"] <= 10))
    if bare and cached:
        times = cached["p50_ms"] / bare["p50_ms"]
        text = f"{times:.2f} × ({ms(cached['p50_ms'])} beside {ms(bare['p50_ms'])} ms)"
        if alike := find(row, "bare-list", 1):
            text += f"; {cached['p50_ms'] / alike['p50_ms']:.2f} × `bare-list`"
        out.append(("cached, 1 connection: p50 ≤ 2 × `bare`", text, times <= 2))
    if many := find(row, "uncached", 64):
        out.append(("uncached, 64 connections: ≥ 300 requests/s", f"{many['per_second']:,.0f}", many["per_second"] >= 300))
        out.append(("uncached, 64 connections: p99 ≤ 400 ms", f"{ms(many['p99_ms'])} ms", many["p99_ms"] <= 400))
    errors = sum(r["errors"] for r in row["rows"])
    return [*out, ("no errors at all", f"{errors} of {sum(r['requests'] for r in row['rows']):,} requests", errors == 0)]


def beside(row, batches):
    "Our numbers beside those of the project we start from, and of others."
    out, one, cached = [], find(row, "uncached", 1), find(row, "cached", 1)
    if one:
        out.append(("a list for a new history", f"{START['uncached_ms']} ms", f"{ms(one['p50_ms'])} ms", f"{START['uncached_ms'] / one['p50_ms']:,.0f} ×"))
    if cached:
        out.append(("a list from the cache", f"{START['cached_ms']} ms", f"{ms(cached['p50_ms'])} ms", f"{START['cached_ms'] / cached['p50_ms']:.1f} ×"))
    for b in batches:
        rate = b["users_per_minute"]
        out.append((f"`movierec batch`, {b['model']}, users a minute", f"{START['batch']:,}", f"{rate:,}", f"{rate / START['batch']:,.1f} ×"))
    if call := max((r for r in row["rows"] if r["case"] == "batch"), key=lambda r: r["per_second"], default=None):
        rate = 6000 * call["per_second"]
        out.append(("`POST /batch/recommend`, users a minute", f"{START['batch']:,}", f"{rate:,.0f}", f"{rate / START['batch']:,.1f} ×"))
    others = "\n".join(f"- {who}: {what}" for who, what in ELSEWHERE)
    return f"""\
{table(["", "start", "here", "quicker"], out)}

The start's numbers are those it states, on a machine it doesn't describe. So are these, of systems that do other work:

{others}
"""


def capacity(row):
    "How many users one replica serves, from the uncached rate."
    new, old = find(row, "uncached", 64), find(row, "cached", 64)
    if not new:
        return ""
    rates = {"a new list, uncached": new["per_second"]} | ({"a prepared list": old["per_second"]} if old else {})
    pauses = (10, 30, 60)
    body = [(what, f"{r:,.0f}", f"{BUSY * r:,.0f}", *(f"{BUSY * r * s:,.0f}" for s in pauses)) for what, r in rates.items()]
    day = BUSY * new["per_second"] * 3600 / 0.1 / 20
    return f"""\
A replica is one server process on {row["cores"]} cores, which in this measurement it shared with the load tool: on cores of its own
it does more. Planned with is {BUSY:.0%} of the measured rate at 64 connections, where the autoscaler of `deploy/k8s` adds a replica.
Users who are there at the same time, each asking for a list every so many seconds:

{table(["each request is", "measured /s", "planned /s", *(f"every {s} s" for s in pauses)], body)}

By the day: if a visitor asks for 20 new lists and a tenth of the day's visitors come in the busiest hour, one replica serves
{day:,.0f} visitors a day ({BUSY * new["per_second"]:,.0f}/s × 3,600 s ÷ 0.1 ÷ 20). Assumed throughout: histories of {row["history"]} films, a catalogue of
{row["films"]:,}, every list a new one. Where lists are asked for again, or prepared by `POST /batch/recommend/cache`, the second line holds.
"""


def soak(row):
    rest, work = row["rest_mb"], row["work_mb"]
    told = ", ".join(f"{x:,.1f}" for x in rest[len(rest) // 10 - 1 :: len(rest) // 10])
    return f"""\
{row["minutes"]:g} minutes of {", ".join(f"`{c}`" for c in row["calls"])} in turn from {row["clients"]} clients on bundle `{row["dataset"]}`; each answer
compared with what the same engine says in another process: {row["requests"]:,} requests, **{row["wrong"]} wrong**, {row["errors"]} errors, {row.get("shed", 0)} told to come again.
Memory of the server's own at rest (the clients pause; what a request needs is given back then) after each tenth of the time:
{told} MB ([all {len(rest)}](benchmarks/soak_memory.csv)); slope of the second half {row["mb_per_hour"]:+.1f} MB an hour (± {row["mb_per_hour_error"]:.1f}, least squares
over {row["samples"]} rests). At work, the median between two rests: {work[len(work) // 2 - 1]:,.1f} MB at half time, {work[-1]:,.1f} MB at the end. Resident set, with the pages of files that the system keeps for it: {row["rss_mb"][0]:,.0f} MB at half time, {row["rss_mb"][1]:,.0f} MB at the end.
"""


def onnx(row):
    cpu, base = {(r["engine"], r["batch"]): r["cpu_ms"] for r in row["rows"]}, "torch float32"
    diff = {name: max(r["largest_difference"] for r in row["rows"] if r["engine"] == name) for name, _ in cpu}
    right = row["quality"].get(base, {}).get("NDCG@10")
    body = []
    for name in diff:
        told = [f"{ms(cpu[name, b])} ({cpu[base, b] / cpu[name, b]:.2f} ×)" for b in (1, 32)]
        got = row["quality"].get(name, {}).get("NDCG@10")
        body.append((name, *told, f"{diff[name]:.0e}" if name != base else "–", "–" if got is None else f"{got:.4f} ({got - right:+.4f})"))
    left_out = "".join(f" {name} is left out: {why}." for name, why in row["missing"].items())
    return f"""\
The decoder's vector of a history of {row["history"]}, on {row["threads"]} CPU thread(s): median CPU time of a call, and how many times as quick as torch
that is; the largest difference of any number of any vector from torch's; NDCG@10 on the valid part of {row["dataset"]}
({row["users"]:,} users), where the memory of `34_follow` is added to what the vectors say.
Load of the machine: {row["load_average"]}.{left_out}

{table(["engine", "1 history, ms", "32 histories, ms", "difference", "NDCG@10 (change)"], body)}

The service computes with torch as it is. Under load it asks for many histories at once, and there nothing is quicker by enough
to pay for what it takes: a second copy of each model and one more library (ONNX Runtime), vectors that are off in their second
digit (int8), or a C++ compiler in the image and a compilation at every start (torch.compile).
"""


def page(serve, batches=(), soaks=None, onnxes=None):
    "The page's text from the rows."
    parts = ["# Serving\n\nMeasured, not promised: made by `python reports/serving.py` of the rows in `benchmarks/`. The measurement:\n"
             "`python benchmarks/serve.py --bundle artifacts/bundles/ml-1m` (it needs `wrk`, and ends by writing this page).\n"]  # fmt: skip
    for row in serve:
        parts += [f"## Over HTTP: {row['dataset']}\n\n{speed(row)}"]
    if serve:
        main = serve[0]
        lines = table(["bar, 2 cores", "measured", ""], [(b, m, mark(ok)) for b, m, ok in bars(main)])
        parts += [f"## The bars, on {main['dataset']}\n\n{lines}\n", f"## Beside others\n\n{beside(main, batches)}"]
        if (text := capacity(main)) : parts += [f"## How many users a replica serves\n\n{text}"]
    if soaks:
        parts += [f"## Under load for long\n\n{soak(soaks)}"]
    if onnxes:
        parts += [f"## What computes the vector\n\n{onnx(onnxes)}"]
    return "\n".join(parts)


def load(folder):
    "The rows of a folder, as `page` takes them; MovieLens before the demo."
    read = lambda p: json.loads(p.read_text(encoding="utf-8"))   # noqa: E731
    serve = sorted((read(p) for p in folder.glob("serve_*.json")), key=lambda r: r["dataset"] == "demo")
    batches = [read(p) for p in sorted(folder.glob("batch_*.json"))]
    one = lambda name: read(folder / name) if (folder / name).is_file() else None   # noqa: E731
    return serve, batches, one("soak.json"), one("onnx.json")


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--rows", type=Path, default=HERE / "benchmarks")
    args.add_argument("--page", type=Path, default=HERE / "serving.md")
    args.add_argument("--check", action="store_true", help="only say whether the page is what the rows make")
    a = args.parse_args()
    text = page(*load(a.rows))
    if not a.check:
        a.page.write_text(text, encoding="utf-8")
    elif not a.page.is_file() or a.page.read_text(encoding="utf-8") != text:
        sys.exit(f"{a.page.name} is not what the rows make: python reports/serving.py")


if __name__ == "__main__":
    main()
