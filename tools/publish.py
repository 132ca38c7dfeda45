"""Publish a trained model's weights in movierec/weights, with a card made from its result rows.

    python tools/publish.py artifacts/models/decoder-all-ml-1m-seed0 --label decoder-all \\
        --command "movierec train decoder --data ml-1m --with-valid --seed 0 --device cpu"

Only the network's weights, the settings and the film numbers are written (`69_pretrained`); the numbers of the card are those of
reports/results, which the same model's evaluation wrote.
"""
import argparse
import json
from pathlib import Path

from movierec.core import MovierecError, fmt_seconds, sha256, write_text
from movierec.models.registry import load_model
from movierec.pretrained import PLACE, publish

RESULTS = Path(__file__).resolve().parents[1] / "reports/results"
SHOWN = ("HR@10", "NDCG@10", "HR@50", "NDCG@50", "MRR")

CARD = """# {model} for {dataset}

Weights of movierec's `{model}` ([its notebook](../../../nbs/{notebook}.ipynb)), trained on MovieLens 1M, so that
`movierec build --data {dataset}` and `make run DATA={dataset}` need no training of it where the data are at hand.
`--train` trains anyway.

| | |
|---|---|
| data | MovieLens 1M ({users:,} viewers, {items:,} films in what was learned from), fetched by whoever uses these weights |
| protocol | {protocol}; learned from **{fit_on}**{fit_note} |
| command | `{command}` |
| seed | {seed} |
| training | {time} on one thread |
| measured at commit | `{commit}` |
| parameters | {parameters:,}, float32 |
| `model.safetensors` | SHA-256 `{checksum}` |

## Measured

The last film of each of {users:,} viewers, ranked among the whole catalogue, films already seen left out; in brackets the 95 %
bootstrap interval over the viewers. The rows, with everything that made them, are in `reports/results`.

| | {heads} |
|---|{rules}|
{rows}

## What is in the files, and what isn't

- `model.safetensors`: the network's weights. `config.json`: its settings. `item_ids.npy`: which MovieLens film each row of the
  weights stands for, as numbers. `manifest.json`: sizes and SHA-256 of these three, which are checked at loading.
- No ratings, no titles or other texts, no viewer's id. What a network was told of its films (genres, years) is there only as far as it shaped their vectors. What movierec's models *count* (how often a film was watched{counted}) is
  not here either: it would be the ratings in another shape. It is counted again from the data at hand.
- The films of the data at hand have to be **exactly** these {items:,}; otherwise the weights are refused, and the model is trained.

## Limits

- A research model of the years 2000 to 2003: it knows the films that its viewers rated then, in the order in which they rated them, many in one
  sitting. It knows no newer film, and nothing of how films are chosen today.
- MovieLens 1M's viewers are {users:,} volunteers, seven in ten of them men and more than half under 35; the
  lists repeat their taste, popular films above all.
{limits}- It was trained and measured on files whose structure, counts and per-viewer order were verified, but which are not the published
  bytes: a share of the time stamps is interpolated within the bounds that the order leaves.

## Licence

The weights are under the repository's licence as far as they are ours to license. MovieLens' own terms go with them: the data may
be used for **research**, with acknowledgement, and may not be redistributed (nothing of it is here); commercial use needs GroupLens'
agreement. Please cite F. Maxwell Harper and Joseph A. Konstan (2015), *The MovieLens Datasets: History and Context*, ACM
Transactions on Interactive Intelligent Systems 5(4), article 19, <https://doi.org/10.1145/2827872>.
"""
NOTEBOOKS = dict(decoder="53_models.decoder", taste="54_models.taste")
COUNTED = dict(decoder=", what followed what", taste="")
LIMITS = dict(decoder="""- The row "told when it is asked" uses the time of the request, which a service knows and a paper often doesn't.
""", taste="")


def read_rows(label, a):
    "The test rows of `label`: what they are called, and the row."
    names = {"not told": "", "told when it is asked": "_query-time"}
    found = {said: RESULTS / f"{a.data}_{a.protocol}_test_{label}_seed{a.seed}{end}.json" for said, end in names.items()}
    rows = {said: json.loads(p.read_text(encoding="utf-8")) for said, p in found.items() if p.is_file()}
    if not rows: raise MovierecError(f"no test row of {label} in {RESULTS.name}: movierec evaluate … --save reports/results")
    return rows


def same(model, row):
    "`MovierecError` if the row is another model's."
    mine = vars(model.config)                          # a model's settings may be more since, the row's are those of its day
    if any(mine.get(k) != v for k, v in row["config"].items()) or row["fit_on"] != model.fit_on or row["n_items"] != len(model.item_ids):
        raise MovierecError("the row in reports/results was not measured with this model")
    if row["dirty"]: raise MovierecError("the row was measured with edited code: measure again")


def main(a):
    model = load_model(a.folder); rows = read_rows(a.label or model.name, a); first = next(iter(rows.values()))
    for row in rows.values(): same(model, row)
    cell = lambda v: f"{v['value']:.4f} ({v['low']:.4f} – {v['high']:.4f})"
    table = "\n".join(f"| {said} | " + " | ".join(cell(r["metrics"][k]) for k in SHOWN) + " |" for said, r in rows.items())
    folder = PLACE / f"{model.name}-{a.data}"
    metrics = dict(protocol=a.protocol, part="test", n_users=first["n_users"]) | {k: first["metrics"][k] for k in SHOWN}
    publish(model, folder, dataset=a.data, protocol=a.protocol, seed=a.seed, label=a.label or model.name, commit=first["commit"], command=a.command, metrics=metrics)
    note = ": everything but each viewer's last film" if model.fit_on == "train+valid" else ", stopped early by valid"
    write_text(folder / "README.md", CARD.format(
        model=model.name, dataset=a.data, notebook=NOTEBOOKS[model.name], users=first["n_users"], items=len(model.item_ids), protocol=a.protocol,
        fit_on=model.fit_on, fit_note=note, command=a.command, seed=a.seed, time=fmt_seconds(model.fit_seconds), commit=first["commit"],
        parameters=sum(p.numel() for p in model.net.parameters()), checksum=sha256(folder / "model.safetensors"),
        heads=" | ".join(SHOWN), rules="|".join(["--:"] * len(SHOWN)), rows=table, counted=COUNTED[model.name], limits=LIMITS[model.name]))
    print(f"{folder.name}: {sum(p.stat().st_size for p in folder.iterdir()) / 2**20:.1f} MiB")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder", type=Path, help="written by `movierec train`")
    ap.add_argument("--data", default="ml-1m")
    ap.add_argument("--protocol", default="leave-last-out")
    ap.add_argument("--label", default="", help="of its rows in reports/results (default: the model's name)")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--command", required=True, help="what trained it")
    main(ap.parse_args())
