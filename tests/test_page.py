"""The page in a real browser: search, build a history, see the list follow it."""

import shutil

import pytest
from running import Server, until
from tiny_world import make_bundle

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed (pip install playwright)")
expect = playwright.expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (apt-get install chromium)")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("page")
    make_bundle(tmp / "home/bundle")
    with Server(tmp) as s:
        until(lambda: s.get("/readyz")[0] == 200)
        yield s


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield b
        b.close()


@pytest.fixture
def page(server, browser):
    page, said = browser.new_page(), []
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("dialog", lambda d: (said.append("a dialog: " + d.message), d.dismiss()))
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#next .card")
    yield page
    page.close()
    assert said == []  # no errors, no blocked scripts, no alert()


def titles(page, shelf):
    return [t.inner_text() for t in page.query_selector_all(f"#{shelf} strong")]


def test_it_starts_with_what_is_popular_and_says_who_watched(page):
    assert page.inner_text("#next-title") == "Popular with everyone" and len(titles(page, "next")) == 8
    expect(page.locator("#about")).to_contain_text("simulated")


def test_search_add_follow_remove(page):
    for typed in ("toy stroy", "toy story 2"):
        page.fill("#q", typed)
        page.wait_for_selector("#found-0")
        page.keyboard.press("Enter")
    assert titles(page, "seen") == ["Toy Story", "Toy Story 2"]
    expect(page.locator("#next strong").first).to_have_text("The Godfather")
    assert page.inner_text("#next-title") == "What to watch next" and "Toy Story" not in titles(page, "next")
    page.click("#next .card")
    expect(page.locator("#seen .card")).to_have_count(3)
    page.click("#clear")
    expect(page.locator("#next-title")).to_have_text("Popular with everyone")
    assert titles(page, "seen") == []


def test_keyboard_alone(page):
    page.focus("#q")
    page.keyboard.type("toy")
    page.wait_for_selector("#found-1")
    page.keyboard.press("ArrowDown")
    assert page.get_attribute("#q", "aria-activedescendant") == "found-1"
    page.keyboard.press("Escape")
    assert page.is_hidden("#found")


def test_markup_in_a_title_stays_text(page):
    page.fill("#q", "img src")
    page.wait_for_selector("#found-0")
    assert page.inner_text("#found-0").startswith("<img src=x onerror=alert(1)>")
    page.keyboard.press("Enter")
    assert titles(page, "seen") == ["<img src=x onerror=alert(1)>"]


def test_it_waits_for_a_server_that_went_away(server, browser):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#next .card")
    page.context.set_offline(True)
    page.click("#next .card")
    expect(page.locator("#message")).to_contain_text("reached")
    page.context.set_offline(False)
    expect(page.locator("#message")).to_have_text("", timeout=10_000)
    assert page.inner_text("#next-title") == "What to watch next"
    page.close()


def test_a_phone_has_no_sideways_scroll(server, browser):
    page = browser.new_page(viewport=dict(width=360, height=700))
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector("#next .card")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()
