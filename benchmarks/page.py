"""The web page in a real browser, on a bundle of your own: a tour of it, and how long it takes to answer its user.

    python benchmarks/page.py --bundle artifacts/bundles/ml-1m --shots shots

The tour is the one that `tests/test_page.py` takes on a toy bundle: search by keyboard, three films, posters and reasons,
variety, a filter, details, a shared link, "not interested", offline and back, a phone. It stops at the first thing
that isn't as it should be, and at any complaint in the browser's console.

Then each action is done `--repeats` times. `seen_ms`: until the page shows that something was done. `local_ms`: until the
new list is painted, without the time that the service took to answer. Medians, in milliseconds.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from running import Server, until  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--bundle", type=Path, default=Path("artifacts/bundle"))
parser.add_argument("--repeats", type=int, default=15)
parser.add_argument("--shots", type=Path, help="folder for pictures of the tour")
parser.add_argument("--readme", action="store_true", help="renew the README's two pictures, in reports/page")
parser.add_argument("--out", type=Path, default=Path("reports/benchmarks"))
args = parser.parse_args()

FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split()
REAL = "#next .card:not(.skeleton)"
README = {"three films by keyboard give posters and reasons": "list.jpg", "stages and map": "hood.jpg"}

# Does `act`, waits for `done` and a painted frame; gives the milliseconds until the first change and until the end,
# without those between the last request for a list and its answer.
TIMED = """async asks => {
  const painted = () => new Promise(f => requestAnimationFrame(() => setTimeout(f)));
  performance.clearResourceTimings();  // the browser keeps 250 of them
  const list = document.getElementById("results").dataset.list;
  let first = 0;
  const t = performance.now(), w = new MutationObserver(() => { first ||= -1; });
  w.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  ACT;
  while (true) {
    if (first === -1) { await painted(); first = performance.now() - t; }
    if (DONE) break;
    await new Promise(f => setTimeout(f, 1));
    if (performance.now() - t > 10000) throw Error("nothing after 10 s");
  }
  await painted();
  const end = performance.now();
  w.disconnect();
  if (!asks) return [first > 0 ? first : end - t, end - t];
  const r = performance.getEntriesByType("resource").filter(x => x.name.includes(asks)).at(-1);
  return [first > 0 ? first : end - t, (r.startTime - t) + (end - r.responseEnd)];
}"""
NEW_LIST = "document.getElementById('results').dataset.list !== list && !document.querySelector('#results[aria-busy]')"
LAST = "const c = document.querySelectorAll('#next .card');"
ACTIONS = {
    "watched it": (LAST + "c[1].querySelector('.seen').click()", NEW_LIST, "recommend"),
    "not interested": (LAST + "c[1].querySelector('.no').click()", NEW_LIST, "recommend"),
    "undo": ("document.getElementById('undo').click()", NEW_LIST, "recommend"),
    "more variety": (
        "const d = document.getElementById('diversity'); d.value = (Number(d.value) + 0.1) % 0.9; d.dispatchEvent(new Event('input'))",
        NEW_LIST,
        "recommend",
    ),
    "a genre": ("document.querySelector('#genres input').click()", NEW_LIST, "recommend"),
    "details": (
        LAST + "c[2].querySelector('.open, a, button').click()",
        "document.querySelector('dialog[open]')",
        "",
    ),
}


def settled(page):
    page.wait_for_selector("#results[data-list]:not([aria-busy])")


def titles(page):
    return page.eval_on_selector_all("#next > li", "n => n.map(x => x.querySelector('h3, .name').textContent)")


class Tour:
    "A browser that goes through the page."

    def __init__(self, browser, address):
        self.browser, self.address, self.said, self.step = browser, address, [], 0

    def visit(self, where="", **context):
        page = self.browser.new_context(**{"viewport": dict(width=1280, height=900), **context}).new_page()
        page.on("console", lambda m: None if "ERR_INTERNET_DISCONNECTED" in m.text else self.said.append(m.text))
        page.on("pageerror", lambda e: self.said.append(str(e)))
        page.goto(self.address + where)
        page.wait_for_selector(REAL)
        settled(page)
        return page

    def done(self, page, what, ok=True):
        self.step += 1
        print(f"{self.step:2}. {what}", flush=True)
        if args.shots:
            args.shots.mkdir(parents=True, exist_ok=True)
            page.wait_for_timeout(400)  # posters fade in
            page.screenshot(path=args.shots / f"{self.step:02}-{'-'.join(what.split()[:4])}.png")
        if args.readme and what in README:
            page.wait_for_timeout(400)
            page.screenshot(path=Path("reports/page") / README[what], type="jpeg", quality=78)
        if not ok or self.said:
            sys.exit(f"step {self.step}, {what}: not as it should be; the console: {self.said}")

    def changed(self, page, act):
        "Do something that makes a new list; whether it is another one."
        before, list_id = titles(page), page.get_attribute("#results", "data-list")
        act()
        page.wait_for_function("old => document.getElementById('results').dataset.list !== old", arg=list_id)
        settled(page)
        return titles(page) != before

    def take(self):
        page = self.visit()
        self.done(page, "starts with what is popular", len(titles(page)) == 24)
        for n, text in enumerate(("star wars", "alien", "matrix"), 1):
            page.fill("#q", "")
            page.type("#q", text)
            page.wait_for_selector("#found-0")
            self.changed(page, lambda: page.keyboard.press("Enter"))
            assert page.locator("#seen > li").count() == n
        reasons = page.eval_on_selector_all(
            "#next .card", "n => n.filter(x => /because|fits|people|popular/i.test(x.textContent)).length"
        )
        self.done(
            page,
            "three films by keyboard give posters and reasons",
            reasons > 0 and page.locator("#next img").count() > 20,
        )
        self.done(page, "more variety changes the list", self.changed(page, lambda: page.fill("#diversity", "0.6")))
        page.fill("#diversity", "0.05")
        settled(page)
        box = page.locator("#genres label").first
        self.done(page, "a genre filters", self.changed(page, box.click))
        self.changed(page, box.click)
        page.locator(f"{REAL} .poster").nth(1).click()
        page.wait_for_selector("dialog[open]")
        page.wait_for_timeout(500)
        self.done(page, "details with similar films", page.locator("dialog[open] li").count() > 2)
        page.keyboard.press("Escape")
        page.click("#hood summary")
        page.wait_for_selector("#stages tr")
        page.locator("#map-frame").scroll_into_view_if_needed()
        page.wait_for_function("() => document.getElementById('map-note').textContent === ''")
        self.done(page, "stages and map", page.locator("#stages tr").count() == 6)
        page.evaluate("scrollTo(0, 0)")
        wait = page.evaluate("new Promise(f => setTimeout(() => f(location.hash), 400))")
        other = self.visit(wait)
        self.done(
            other,
            "a shared link shows the same films",
            other.locator("#seen > li").count() == 3 and titles(other)[:5] == titles(page)[:5],
        )
        gone = titles(page)[0]
        self.changed(page, lambda: page.locator(f"{REAL} .no").first.click())
        self.done(page, "what is not interesting is gone", gone not in titles(page))
        page.context.set_offline(True)
        page.fill("#diversity", "0.3")
        page.wait_for_selector("#trouble:not([hidden])")
        self.done(page, "offline says so and keeps the list", len(titles(page)) == 24)
        page.context.set_offline(False)
        page.wait_for_selector("#trouble", state="hidden")
        self.done(page, "and it recovers by itself")
        phone = self.visit(wait, viewport=dict(width=390, height=844))
        self.done(
            phone,
            "a phone has no sideways scroll",
            phone.evaluate("document.documentElement.scrollWidth <= innerWidth"),
        )
        return wait

    def times(self, where):
        "Action → medians."
        rows, page = {}, self.visit(where, reduced_motion="reduce")
        for name, (act, done, asks) in ACTIONS.items():
            got = []
            for _ in range(args.repeats):
                got.append(page.evaluate(TIMED.replace("ACT", act).replace("DONE", done), asks))
                if name == "details":
                    page.keyboard.press("Escape")
                    page.wait_for_selector("dialog[open]", state="detached")
                settled(page)
            rows[name] = dict(
                zip(
                    ("seen_ms", "local_ms"),
                    (round(statistics.median(x), 1) for x in zip(*got, strict=True)),
                    strict=True,
                )
            )
            print(
                f"{name:15} seen after {rows[name]['seen_ms']:6.1f} ms, list after {rows[name]['local_ms']:6.1f} ms of the page's own",
                flush=True,
            )
        return rows


def main():
    from playwright.sync_api import sync_playwright

    from movierec.evaluate import origin

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("this needs Chromium: apt-get install chromium")
    manifest = json.loads((args.bundle / "manifest.json").read_text())
    with (
        tempfile.TemporaryDirectory() as d,
        Server(Path(d), MOVIEREC_BUNDLE=str(args.bundle.resolve()), MOVIEREC_ACCESS_LOG="0") as server,
    ):
        until(lambda: server.get("/readyz")[0] == 200, 180)
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=chromium, args=FLAGS)
            tour = Tour(browser, f"http://127.0.0.1:{server.port}/")
            rows = tour.times(tour.take())
            browser.close()
    row = dict(
        benchmark="page",
        dataset=manifest["dataset"],
        films=manifest.get("n_items"),
        repeats=args.repeats,
        steps=tour.step,
        actions=rows,
    )
    row |= dict(cores=os.cpu_count(), load_average=round(os.getloadavg()[0], 1)) | origin()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"page_{manifest['dataset']}.json"
    path.write_text(json.dumps(row, indent=1) + "\n")
    print(f"{tour.step} steps as they should be; the row is in {path}")


if __name__ == "__main__":
    main()
