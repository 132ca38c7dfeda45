"""The page in a real browser: search, build a history, see the list follow it, and whatever may go wrong on the way.

With `MOVIEREC_SHOTS` set to a folder, what each test saw last is kept there as a picture.
"""

import json
import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from page_world import HOSTILE, make_page_bundle
from running import Server, until

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed (pip install playwright)")
expect = playwright.expect
expect.set_options(timeout=30_000)  # it ends as soon as it holds; a busy machine takes its time
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
STATIC = Path(__file__).parents[1] / "movierec/static"
REAL = "#next .card:not(.skeleton)"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (apt-get install chromium)")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("page")
    make_page_bundle(tmp / "home/bundle")
    with Server(tmp, MOVIEREC_ACCESS_LOG="0") as s:
        until(lambda: s.get("/readyz")[0] == 200, 180)  # torch takes its time on a busy machine
        yield s


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield b
        b.close()


@pytest.fixture(scope="module")
def films(server):
    "Title → film."
    got = {}
    for q in ("star wars", "alien", "blade", "terminator", "matrix", "toy story", "casablanca", "godfather", "img src"):
        got |= {m["title"]: m for m in server.get("/movies/search?limit=3&q=" + q.replace(" ", "%20"))[1]}
    return got


@pytest.fixture
def visit(server, browser, request):
    "`visit(hash)`: the page in a browser of its own, that must not complain unless told what to `allow`."
    opened = []

    def go(where="", allow=None, wait=True, before=None, **context):
        c = browser.new_context(**{"viewport": dict(width=1280, height=900), "reduced_motion": "reduce", **context})
        page, said = c.new_page(), []
        page.set_default_timeout(30_000)
        page.on("console", lambda m: said.append(m.text))
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("dialog", lambda d: (said.append("a dialog: " + d.message), d.dismiss()))
        opened.append((c, page, said, allow))
        if before:
            before(page)
        page.goto(f"http://127.0.0.1:{server.port}/{where}")
        if wait:
            page.wait_for_selector(REAL)
            settled(page)
        return page

    yield go
    for n, (c, page, said, allow) in enumerate(opened):
        if folder := os.environ.get("MOVIEREC_SHOTS"):
            page.screenshot(path=Path(folder) / f"{re.sub(r'[^a-z]+', '-', request.node.name)[:60]}-{n}.png")
        c.close()
        odd = [text for text in said if not (allow and re.search(allow, text))]
        assert odd == []  # no errors, no blocked scripts, no alert()


def settled(page):
    "Wait until the list is there, and no other one is under way."
    page.wait_for_selector("#results[data-list]:not([aria-busy])")


@contextmanager
def new_list(page):
    "What happens inside changes the list; waits until it is there."
    before = page.get_attribute("#results", "data-list")
    yield
    page.wait_for_function("old => document.getElementById('results').dataset.list !== old", arg=before)
    settled(page)


def titles(page, where="next"):
    return page.eval_on_selector_all(
        f"#{where} > li", "nodes => nodes.map(n => n.querySelector('h3, .name').textContent)"
    )


def link(films, *names):
    return "#h=" + ".".join(films[n]["movie_id"] for n in names)


def add(page, text):
    "Add the first film found, by keyboard."
    page.focus("#q")
    page.keyboard.type(text)
    page.wait_for_selector("#found-0")
    with new_list(page):
        page.keyboard.press("Enter")


SPACE = ("Star Wars", "Alien", "Blade Runner")


# ---- the way in ----------------------------------------------------------------------------------------------------


def test_it_starts_with_what_is_popular_samples_and_where_the_data_is_from(visit):
    page = visit()
    assert page.inner_text("#next-title") == "Popular with everyone" and len(titles(page)) == 24
    expect(page.locator("#about")).to_contain_text("simulated")
    expect(page.locator("#about")).to_contain_text("Nobody (2026)")
    expect(page.locator("#samples li").first).to_contain_text("Sci-fi weekend")
    with new_list(page):
        page.click("#samples button >> nth=0")
    assert titles(page, "seen") == ["Star Wars", "Alien", "Blade Runner", "The Terminator", "The Matrix"]
    assert page.inner_text("#next-title") == "What to watch next" and page.is_hidden("#welcome")
    assert not set(titles(page)) & set(titles(page, "seen"))


def test_search_by_keyboard_alone(visit):
    page = visit()
    page.keyboard.press("/")
    page.keyboard.type("toy stroy")
    page.wait_for_selector("#found-0")
    assert page.get_attribute("#q", "aria-expanded") == "true"
    expect(page.locator("#found-0")).to_contain_text("Toy Story")
    page.keyboard.press("ArrowUp")
    last = page.locator("#found > li").count() - 1
    assert page.get_attribute("#q", "aria-activedescendant") == f"found-{last}"
    page.keyboard.press("ArrowDown")
    assert page.get_attribute("#found-0", "aria-selected") == "true"
    page.keyboard.press("Escape")
    assert page.is_hidden("#found-box") and page.input_value("#q")
    page.keyboard.press("Escape")
    assert page.input_value("#q") == ""
    before = titles(page)
    add(page, "toy story")
    add(page, "aladdin")
    assert titles(page, "seen") == ["Toy Story", "Aladdin"] and titles(page) != before
    page.keyboard.type("toy story")
    expect(page.locator("#found-0")).to_contain_text("watched")
    page.keyboard.press("Enter")
    expect(page.locator("#say")).to_contain_text("already")
    assert len(titles(page, "seen")) == 2


def test_what_is_no_title_is_searched_by_meaning_and_says_so(visit):
    page = visit()
    page.fill("#q", "a robot left alone to clean the earth")
    expect(page.locator("#found-note")).to_contain_text("by meaning:")
    expect(page.locator("#found-0 .tag")).to_have_text("by meaning")
    assert "WALL·E" in page.inner_text("#found")


# ---- the history ---------------------------------------------------------------------------------------------------


def test_history_by_keyboard_undo_and_clear(visit, films):
    page = visit(link(films, *SPACE))
    page.focus("#seen li:nth-child(3) .poster")
    with new_list(page):
        page.keyboard.press("Shift+ArrowLeft")
    assert titles(page, "seen") == ["Star Wars", "Blade Runner", "Alien"]
    expect(page.locator("#say")).to_contain_text("number 2 of 3")
    page.keyboard.press("ArrowLeft")
    with new_list(page):
        page.keyboard.press("Delete")
    assert titles(page, "seen") == ["Blade Runner", "Alien"]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Blade Runner (1982), 1 of 2")
    with new_list(page):
        page.keyboard.press("Control+z")
    with new_list(page):
        page.click("#undo")
    assert titles(page, "seen") == list(SPACE)
    with new_list(page):
        page.click("#clear")
    assert page.is_visible("#welcome") and page.inner_text("#next-title") == "Popular with everyone"
    with new_list(page):
        page.click("#toast-undo")
    assert titles(page, "seen") == list(SPACE)


def test_history_by_mouse(visit, films):
    page = visit(link(films, *SPACE))
    with new_list(page):
        page.drag_and_drop("#seen li:nth-child(1)", "#seen li:nth-child(3)", target_position=dict(x=90, y=60))
    assert titles(page, "seen") == ["Alien", "Blade Runner", "Star Wars"]
    page.hover("#seen li:nth-child(2)")
    with new_list(page):
        page.click("#seen li:nth-child(2) .gone")
    assert titles(page, "seen") == ["Alien", "Star Wars"]


def test_it_is_kept_and_can_be_shared(visit, films, server):
    page = visit(link(films, *SPACE) + "&div=0.4&g=Sci-Fi&not=" + films["The Terminator"]["movie_id"])
    shown = titles(page)
    assert "The Terminator" not in shown and page.input_value("#diversity") == "0.4"
    with new_list(page):
        page.press("#seen li:nth-child(1) .poster", "Delete")
    shown = titles(page)
    page.wait_for_function("id => !location.hash.includes('h=' + id + '.')", arg=films["Star Wars"]["movie_id"])
    url = page.url
    assert "d=page" in url
    page.goto(f"http://127.0.0.1:{server.port}/")  # without the address: from the browser's own memory
    page.wait_for_selector(REAL)
    settled(page)
    assert titles(page, "seen") == ["Alien", "Blade Runner"] and titles(page) == shown
    other = visit(url[url.index("#") :])
    assert titles(other, "seen") == ["Alien", "Blade Runner"] and titles(other) == shown
    assert other.is_checked("#genres input[value='Sci-Fi']")
    foreign = visit("#d=elsewhere&h=1.2.3")
    expect(foreign.locator("#toast")).to_contain_text("other films")
    assert titles(foreign, "seen") == []


def test_a_shared_list_gives_way_to_ones_own(visit, films):
    page = visit(link(films, *SPACE))
    with new_list(page):
        page.evaluate("h => { location.hash = h; }", link(films, "Casablanca"))
    assert titles(page, "seen") == ["Casablanca"]
    with new_list(page):
        page.click("#toast-undo")
    assert titles(page, "seen") == list(SPACE)


@pytest.mark.parametrize("ms", [0, 300])
def test_a_link_opened_at_once_after_a_change_takes_nothing_away(visit, films, ms):
    page = visit(link(films, *SPACE))
    with new_list(page):  # in one breath: what was changed isn't kept yet, or (300 ms) is to be kept when the link comes
        page.evaluate(
            """([hash, ms]) => {
                document.querySelector('#seen li .gone').click();
                for (const end = performance.now() + ms; performance.now() < end;);
                location.hash = hash;
            }""",
            [link(films, "Casablanca"), ms],
        )
        page.wait_for_function("() => document.querySelectorAll('#seen > li').length === 1")
    assert titles(page, "seen") == ["Casablanca"]
    with new_list(page):
        page.click("#toast-undo")
    assert len(titles(page, "seen")) == len(SPACE) - 1
    with new_list(page):
        page.click("#undo")
    assert titles(page, "seen") == list(SPACE)


# ---- the list ------------------------------------------------------------------------------------------------------


def test_cards_have_posters_facts_scores_and_reasons(visit, films):
    page = visit(link(films, *SPACE))
    assert page.inner_text("#next-title") == "What to watch next"
    cards = page.locator(REAL)
    assert cards.count() == 24
    for i in (0, 1, 2):
        card = cards.nth(i)
        assert (
            re.search(r"\d{4} · \w", card.locator(".about small").inner_text()) and card.locator(".score").inner_text()
        )
        assert card.locator(".why").inner_text().endswith(".")
        page.wait_for_function("i => document.querySelectorAll('#next .card .poster img')[i].naturalWidth > 0", arg=i)
    assert page.locator(".lead .plot").inner_text() and page.locator(".lead").count() == 1


def test_variety_and_order_change_the_list(visit, films, server):
    page, usual = visit(link(films, *SPACE)), server.get("/model")[1]["offers"]["diversity"]
    lists = set()
    for change in (
        lambda: page.fill("#diversity", "0.9"),
        lambda: page.fill("#diversity", "0"),
        lambda: page.click("#sequential"),
    ):
        with new_list(page):
            change()
        lists.add(tuple(titles(page)))
    assert len(lists) == 3
    with new_list(page):
        page.select_option("#k", "12")
    assert len(titles(page)) == 12
    with new_list(page):
        page.click("#reset")
    assert len(titles(page)) == 24 and float(page.input_value("#diversity")) == usual and page.is_checked("#sequential")


def test_filters(visit, films):
    page = visit(link(films, *SPACE))
    with new_list(page):
        page.check("#genres input[value='Sci-Fi']", force=True)
    with new_list(page):
        page.fill("#to", "1990")
        page.keyboard.press("Tab")
    shown = page.eval_on_selector_all("#next .card", "n => n.map(x => x.dataset.id)")
    assert shown
    for i in shown:
        film = page.evaluate("i => fetch('/movies/' + i).then(r => r.json())", i)
        assert "Sci-Fi" in film["genres"] and film["year"] <= 1990
    assert page.inner_text("#tune-count") == "2"
    with new_list(page):
        page.fill("#to", "1901")
        page.keyboard.press("Tab")
    expect(page.locator("#none")).to_contain_text("No film passes")
    with new_list(page):
        page.click("#none-clear")
    assert len(titles(page)) == 24


def test_not_interested_is_gone_until_undone(visit, films):
    page = visit(link(films, *SPACE))
    second = titles(page)[1]
    page.focus("#next li:nth-child(2) .no")
    with new_list(page):
        page.keyboard.press("Enter")
    assert second not in titles(page) and len(titles(page)) == 24
    assert page.evaluate("document.activeElement.className") == "act no"  # one may go on from there
    assert page.inner_text("#hidden-line").startswith("1 film hidden")
    with new_list(page):
        page.click("#toast-undo")
    assert second in titles(page) and page.is_hidden("#hidden-part")


def test_watched_moves_to_the_history(visit, films):
    page = visit(link(films, *SPACE))
    first = titles(page)[0]
    with new_list(page):
        page.click(".lead .seen")
    assert titles(page, "seen")[-1] == first and first not in titles(page)


def test_two_models_side_by_side(visit, films):
    page = visit(link(films, *SPACE))
    assert page.eval_on_selector_all("#model option", "o => o.map(x => x.value)") == [
        "pipeline",
        "decoder",
        "item-knn",
        "popular",
    ]
    with new_list(page):
        page.select_option("#against", "item-knn")
    assert page.is_visible("#other") and len(titles(page, "other-list")) == 24
    both = set(titles(page)) & set(titles(page, "other-list"))
    assert page.inner_text("#other-note") == f"{len(both)} of 24 in both lists"
    assert page.locator("#next .both:visible").count() == len(both)
    with new_list(page):
        page.select_option("#model", "popular")
    assert page.inner_text("#next-title") == "Popular with everyone" and page.is_hidden("#sequential")


def test_impressions_once_a_list_and_clicks(visit, films):
    sent = []

    def listen(page):
        page.on("request", lambda r: r.url.endswith("/events") and sent.append(r.post_data_json))

    page = visit(link(films, *SPACE), before=listen)
    page.mouse.wheel(0, 500)
    until(lambda: (page.wait_for_timeout(20), len(sent) >= 4)[1])
    page.mouse.wheel(0, -500)
    page.wait_for_timeout(900)
    seen = [e for e in sent if e["type"] == "impression"]
    assert len({(e["list_id"], e["movie_id"]) for e in seen}) == len(seen)
    assert {e["list_id"].split(":")[0] for e in seen} == {"decoder"} and re.fullmatch(
        r"web-[0-9a-f]{12}", seen[0]["user_id"]
    )
    with page.expect_request(lambda r: r.url.endswith("/events") and '"click"' in r.post_data) as r:
        page.click("#next li:nth-child(2) .poster")
    clicked = r.value.post_data_json
    assert clicked["position"] == 2 and clicked["list_id"] == seen[0]["list_id"]


def test_where_events_are_refused_it_stops_and_says_nothing(visit, films):
    asked = []

    def refuse(page):
        page.route("**/events", lambda r: (asked.append(1), r.fulfill(status=401, body='{"detail": "no"}')))

    page = visit(link(films, *SPACE), allow="401", before=refuse)
    until(lambda: (page.wait_for_timeout(20), asked)[1])
    page.wait_for_timeout(900)
    page.click("#next li:nth-child(2) .poster")
    page.wait_for_timeout(300)
    assert len(asked) == 1 and page.is_hidden("#trouble")


# ---- details -------------------------------------------------------------------------------------------------------


def test_details_keep_the_focus_and_give_it_back(visit, films):
    page = visit(link(films, *SPACE))
    page.focus("#next li:nth-child(2) .poster")
    name = titles(page)[1]
    page.keyboard.press("Enter")
    expect(page.locator("#d-title")).to_have_text(name)
    page.wait_for_selector("#similar li:not(.skeleton)")
    assert page.evaluate("document.activeElement.id") == "d-title"
    for key in ["Tab"] * 30 + ["Shift+Tab"] * 8:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.closest('dialog')?.id") == "details"
    assert page.locator("#d-known dt").count() >= 2 and page.inner_text("#d-plot") and page.inner_text("#d-why .why")
    page.click("#kinds button >> nth=1")  # same viewers
    page.wait_for_selector("#similar li:not(.skeleton)")
    other = page.get_attribute("#similar li:nth-child(1) .poster", "aria-label")
    page.click("#similar li:nth-child(1) .poster")
    expect(page.locator("#d-title")).to_have_text(re.sub(r" \(\d{4}\)$", "", other))
    page.click("#d-back")
    expect(page.locator("#d-title")).to_have_text(name)
    page.keyboard.press("Escape")
    assert page.is_hidden("#details")
    assert page.evaluate("document.activeElement.closest('li')?.querySelector('h3').textContent") == name
    page.keyboard.press("Enter")
    with new_list(page):
        page.click("#d-no")
    assert name not in titles(page) and page.is_hidden("#details")


def test_because_you_watched_shows_the_films(visit, films):
    page = visit(link(films, *SPACE))
    reasons = page.eval_on_selector_all("#next .why", "n => n.map(x => x.textContent)")
    at = next(i for i, text in enumerate(reasons) if text.startswith("Because you watched"))
    page.click(f"#next li:nth-child({at + 1}) .poster")
    expect(page.locator("#d-why h3")).to_have_text("Because you watched…")
    assert page.inner_text("#d-why .why") == reasons[at]
    named = re.search("“(.+)”", reasons[at])[1]
    assert page.get_attribute(".thumb >> nth=0", "aria-label").startswith(named)


# ---- trouble -------------------------------------------------------------------------------------------------------


def test_not_ready_is_waited_for(visit):
    answers = iter([503, 503])

    def slow(page):
        body = '{"detail": "not ready: loading the bundle"}'
        serve = lambda r: (
            r.fulfill(status=503, body=body, headers={"Retry-After": "1"}) if next(answers, 0) else r.continue_()
        )
        page.route("**/model", serve)

    page = visit(allow="503", wait=False, before=slow)
    expect(page.locator("#trouble-text")).to_contain_text("isn't ready: loading the bundle")
    page.wait_for_selector(REAL)
    assert page.is_hidden("#trouble")


def test_offline_says_so_keeps_the_list_and_recovers(visit, films):
    page = visit(link(films, *SPACE), allow="ERR_INTERNET_DISCONNECTED")
    before = titles(page)
    page.context.set_offline(True)
    expect(page.locator("#trouble-text")).to_contain_text("offline")
    page.click(".lead .seen")
    expect(page.locator("#seen li")).to_have_count(4)  # the history is the browser's own
    assert titles(page) == before
    with new_list(page):
        page.context.set_offline(False)
    expect(page.locator("#trouble")).to_be_hidden()
    assert before[0] not in titles(page)


def test_an_error_can_be_tried_again(visit, films):
    page = visit(link(films, *SPACE), allow="500")
    page.route("**/pipeline/recommend", lambda r: r.fulfill(status=500, body='{"detail": "internal error"}'))
    page.fill("#diversity", "0.5")
    expect(page.locator("#trouble-text")).to_have_text("That didn't work: internal error.")
    page.unroute("**/pipeline/recommend")
    with new_list(page):
        page.click("#retry")
    expect(page.locator("#trouble")).to_be_hidden()


def test_what_is_done_shows_before_the_service_answers(visit, films):
    page, held = visit(link(films, *SPACE)), []
    page.route("**/pipeline/recommend", lambda r: held.append(r))
    page.click(".lead .seen")
    assert len(titles(page, "seen")) == 4
    page.wait_for_selector("#results[aria-busy]", state="attached")
    with new_list(page):
        held[0].continue_()
        page.unroute("**/pipeline/recommend")
    assert page.locator("#results[aria-busy]").count() == 0


def test_a_slow_old_answer_never_replaces_a_new_one(visit, films):
    page, held = visit(link(films, *SPACE)), []
    page.route(
        "**/pipeline/recommend",
        lambda r: held.append(r) if json.loads(r.request.post_data)["diversity"] == 0.9 else r.continue_(),
    )
    page.fill("#diversity", "0.9")
    until(lambda: (page.wait_for_timeout(20), held)[1])
    with new_list(page):
        page.select_option("#k", "12")  # still 0.9, and held too
        page.fill("#diversity", "0")
    assert len(titles(page)) == 12 and page.inner_text("#diversity-now") == "0.00"


def test_markup_in_a_title_stays_text(visit, films):
    page = visit()
    page.fill("#q", "img src")
    page.wait_for_selector("#found-0")
    assert page.inner_text("#found-0").startswith(HOSTILE)
    with new_list(page):
        page.keyboard.press("Enter")
    assert titles(page, "seen") == [HOSTILE]
    page.click("#seen .poster")
    expect(page.locator("#d-title")).to_have_text(HOSTILE)
    expect(page.locator("#d-known")).to_contain_text(HOSTILE)
    page.keyboard.press("Escape")
    page.goto(page.url.split("#")[0] + "#h=" + films["Alien"]["movie_id"] + "&k=96")
    page.reload()
    page.wait_for_selector(REAL)
    settled(page)
    assert HOSTILE in titles(page) and page.locator("img[onerror]").count() == 0


@pytest.mark.parametrize(
    "where", ["#h=..%2F..%2Fetc.999999.<script>&g=Nonsense&k=-5&div=NaN&m=no-model", "#%E0%A4%A", "#h=" + "9" * 5000]
)
def test_a_broken_link_breaks_nothing(visit, where):
    page = visit(where, allow="404|422", wait=False)
    expect(page.locator("#next .card, #trouble-text:not(:empty), #none-text:not(:empty)").first).to_be_attached()
    assert titles(page, "seen") == []


# ---- under the hood ------------------------------------------------------------------------------------------------


def test_under_the_hood_tells_stages_and_shows_the_map(visit, films):
    page, coming = visit(link(films, *SPACE[::-1])), set()  # an order nobody asked for before
    page.on("request", lambda r: coming.add(r.url))
    for done in ("requestfinished", "requestfailed"):
        page.on(done, lambda r: coming.discard(r.url))
    page.click("#hood summary")
    rows = page.eval_on_selector_all("#stages tr", "n => n.map(x => x.innerText.replace(/\\s+/g, ' '))")
    assert [r.split()[0] for r in rows] == ["Read", "Filter", "Retrieve", "Score", "Order", "Explain"]
    assert all(re.search(r"\d ms", r) for r in rows)
    expect(page.locator("#hood-line")).to_contain_text("computed for this request")
    with new_list(page):
        page.fill("#diversity", "0.4")  # the same films: they are read already
    expect(page.locator("#hood-line")).to_contain_text("in the cache")
    page.locator("#map-frame").scroll_into_view_if_needed()
    page.wait_for_function("() => document.getElementById('map-note').textContent === ''")
    expect(page.locator("#map")).to_have_attribute("aria-label", re.compile("3 watched, 24 recommended"))

    def look(last=None):
        "The picture, once all posters have come and it stays the same."
        while (now := page.evaluate("document.getElementById('map').toDataURL()")) != last or coming:
            page.wait_for_timeout(300)
            last = now
        return now

    pictures = [look()]
    page.focus("#map-frame")
    for key in ("+", "ArrowRight", "0"):
        page.keyboard.press(key)
        page.wait_for_timeout(100)
        pictures.append(look())
    assert len(set(pictures[:3])) == 3 and pictures[3] == pictures[0]
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(100)
    assert look() != pictures[0]


def test_nothing_is_ever_parsed_as_markup():
    banned = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|https?://(?!www\.w3\.org/2000/svg)"
    )
    scripts = list(STATIC.glob("*.js"))
    assert len(scripts) > 8 and [f.name for f in scripts if banned.search(f.read_text(encoding="utf-8"))] == []


# ---- for everybody -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing_serious(visit, films, scheme):
    base = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python isn't installed")

    def serious(page, what):
        page.evaluate(base.AXE_SCRIPT) if not page.evaluate("'axe' in window") else None
        got = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        bad = [
            (v["id"], v["nodes"][0]["html"][:150], v["nodes"][0]["failureSummary"][:300])
            for v in got
            if v["impact"] in ("serious", "critical")
        ]
        assert bad == [], what

    page = visit(color_scheme=scheme)
    serious(page, "the beginning")
    page.fill("#q", "toy")
    page.wait_for_selector("#found-0")
    serious(page, "search")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    with new_list(page):
        page.click("#samples button >> nth=0")
    page.click("#hood summary")
    with new_list(page):
        page.click("#next li:nth-child(3) .no")
    serious(page, "a list")
    page.click("#next li:nth-child(3) .poster")
    page.wait_for_selector("#similar li:not(.skeleton)")
    serious(page, "details")
    page.keyboard.press("Escape")
    with new_list(page):
        page.select_option("#against", "popular")
    serious(page, "two lists")


def test_a_phone_has_no_sideways_scroll(visit, films):
    page = visit(viewport=dict(width=360, height=700), has_touch=True)
    fits = lambda: page.evaluate("document.documentElement.scrollWidth") <= 360
    assert fits()
    with new_list(page):
        page.click("#samples button >> nth=0")
    assert fits()
    page.click("#seen li:nth-child(2) .later")  # what hovering shows elsewhere is there for a finger
    expect(page.locator("#seen li:nth-child(3) .name")).to_have_text("Alien")
    page.click("#tune summary")
    with new_list(page):
        page.select_option("#against", "popular")
    page.click("#hood summary")
    assert fits()
    page.click("#next li:nth-child(2) .poster")
    page.wait_for_selector("#similar li:not(.skeleton)")
    assert fits() and page.evaluate("d => d.scrollWidth <= d.clientWidth", page.query_selector("#details"))


@pytest.mark.parametrize("wanted", ["reduce", "no-preference"])
def test_motion_only_where_it_is_wanted(visit, films, wanted):
    page = visit(link(films, *SPACE), reduced_motion=wanted)
    moving, old = [], page.get_attribute("#results", "data-list")
    page.fill("#diversity", "1")

    def look():
        page.wait_for_timeout(15)
        moving.append(page.evaluate("document.getAnimations().filter(a => a.playState === 'running').length"))
        return page.get_attribute("#results", "data-list") != old

    until(look)
    for _ in range(20):
        look()
    assert any(moving) == (wanted == "no-preference")


def test_the_first_view_is_small_and_all_from_here(visit, server):
    got = []
    page = visit(before=lambda page: page.on("response", lambda r: got.append(r)))
    assert {r.url.split("/")[2] for r in got} == {f"127.0.0.1:{server.port}"}
    size = sum(len(r.body()) for r in got if "/posters/" not in r.url and r.ok)
    assert 20_000 < size < 150_000, size
    below = page.eval_on_selector_all(
        "#next .card:nth-child(n + 2) img", "n => n.every(x => x.loading === 'lazy' && x.width && x.height)"
    )
    assert below


# ---- the calls -----------------------------------------------------------------------------------------------------


def test_docs_are_shown_and_tried_without_any_other_server(server, browser):
    c = browser.new_context(viewport=dict(width=1280, height=900))
    page, said, asked = c.new_page(), [], []
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("request", lambda r: asked.append(r.url))
    page.goto(f"http://127.0.0.1:{server.port}/docs")
    calls = page.locator(".opblock")
    expect(calls.first).to_be_visible()
    assert calls.count() == sum(map(len, server.get("/openapi.json")[1]["paths"].values()))
    page.locator(".opblock", has=page.locator("[data-path='/healthz']")).click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    if folder := os.environ.get("MOVIEREC_SHOTS"):
        page.screenshot(path=Path(folder) / "docs.png")
    c.close()
    odd = [u for u in asked if not u.startswith((f"http://127.0.0.1:{server.port}/", "data:", "blob:"))]
    assert odd == [] and said == []
