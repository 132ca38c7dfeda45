#!/bin/sh
# Every notebook, then every test; fails if either does. `make test` prepares the environment and calls this.
# $VENV: the virtual environment (default .venv). Arguments go to pytest.
set -u
bin="$(cd "${VENV:-.venv}/bin" && pwd)"
PATH="$bin:$PATH"; export PATH
if [ -n "${MOVIEREC_DATA:-}" ] && [ -d "$MOVIEREC_DATA" ]; then  # notebooks run in nbs/, so a relative path won't do
    MOVIEREC_DATA=$(cd "$MOVIEREC_DATA" && pwd); export MOVIEREC_DATA
fi
home=$(mktemp -d); trap 'rm -rf "$home"' EXIT; trap 'exit 130' INT TERM
failed=0

# nbdev_test says "Success." and no more: how many notebooks passed is counted here
MOVIEREC_HOME="$home/home" nbdev_test --n_workers 2 >"$home/log" 2>&1 || failed=1
grep -v '^Success\.$' "$home/log"
python - "$home/log" <<'PY' || failed=1
import sys
from nbdev.doclinks import nbglob
names = {p.name for p in nbglob(as_path=True)}
log = open(sys.argv[1], encoding="utf-8", errors="replace").read()
said = {line.strip() for line in log.partition("Tests Failed On The Following Notebooks")[2].splitlines()}
bad = len(names & said) if "Success." not in log.split("\n") else 0
if not bad and "Success." not in log.split("\n"): sys.exit("nbdev_test ended without saying how it went")
print(f"notebooks: {len(names) - bad} passed, {bad} failed", flush=True)
PY

pytest "$@" || failed=1
exit $failed
