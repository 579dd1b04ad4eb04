"""Both reports in a headless Chromium: nothing goes wrong, nothing is fetched, everything works by
keyboard and on a phone."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from fake_run import HOSTILE, TITLES, write_fake_explorer, write_fake_run

from paper_figures.suite_report import write_suite_report
from scoter.report.run_report import write_report

pytestmark = pytest.mark.slow
playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright here; pip install -e '.[dev]' has it"
)
PATIENCE = 240_000  # milliseconds, for a machine that is busy
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here (sought: {', '.join(BROWSERS)}); Debian packages chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, timeout=PATIENCE)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> Callable[[str], Path]:
    """The report of that name, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("reports")

    @cache
    def made(name: str) -> Path:
        out = folder / f"{name}.html"
        run = write_fake_run(
            folder / name, titles=HOSTILE if name == "hostile" else TITLES, note=HOSTILE[0]
        )
        explored = write_fake_explorer(run)
        if name == "suite":
            write_suite_report(out, explored={HOSTILE[0]: explored, "another": explored})
        else:
            write_report(run, out, explored)
        return out

    return made


@pytest.fixture
def visit(browser, reports):
    """Open a report; what the browser complains of and what it asks for must be nothing once the
    test is over."""
    contexts, complaints = [], []

    def opened(name: str, anchor: str = "", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith("file:") or complaints.append(request.url),
        )
        page.goto(reports(name).as_uri() + anchor)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def tab_to(page, selector: str, most: int = 60) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by the Tab key")


@pytest.mark.parametrize("name", ["run", "hostile", "suite"])
def test_it_opens_whole_in_both_schemes_and_on_a_phone(visit, name, tmp_path):
    page = visit(name)
    assert page.evaluate("window.harmed") is None
    assert (
        page.locator(".explorer article:visible").count() == page.locator(".explorer").count() > 0
    )
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for scheme, ground in (("light", "rgb(251, 250, 247)"), ("dark", "rgb(21, 23, 26)")):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
            picture = tmp_path / f"{name}-{scheme}-{width}.png"
            page.screenshot(path=picture, full_page=True)
            assert picture.stat().st_size > 50_000


def test_a_table_is_sorted_by_keyboard_and_says_so(visit):
    page = visit("run")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    tab_to(page, "th:nth-child(4) > button")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    table = page.locator("table").first
    head = table.locator("thead th").nth(3)
    values = "table => [...table.tBodies[0].rows].map(row => Number(row.cells[3].dataset.value))"
    page.keyboard.press("Enter")
    falling = table.evaluate(values)
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling)) > 3
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("#said").text_content() == "Sorted by Recall@10, descending"
    page.keyboard.press("Space")
    assert table.evaluate(values) == falling[::-1]
    assert head.get_attribute("aria-sort") == "ascending"
    tab_to(page, "table:first-of-type th button")
    table.locator("thead button").first.press("Enter")
    names = table.locator("tbody th").all_text_contents()
    assert names == sorted(names, key=str.lower)
    assert head.get_attribute("aria-sort") is None


def test_a_table_is_downloaded_as_csv_with_its_intervals_and_its_order(visit):
    page = visit("run")
    table = page.locator("table").first
    table.locator("thead button").nth(3).click()  # sorted by Recall@10
    with page.expect_download() as expected:
        table.locator(".csv").click()
    assert expected.value.suggested_filename == "test-users-means-with-95-intervals.csv"
    head, *rows = csv.reader(expected.value.path().read_text().splitlines())
    assert head == ["method", "Recall@5", "NDCG@5", "Recall@10", "NDCG@10"]
    assert [row[0] for row in rows] == table.locator("tbody th").all_text_contents()
    assert all(re.fullmatch(r"0\.\d{4} \[0\.\d{4}, 0\.\d{4}\]", row[3]) for row in rows)


def test_sections_stay_in_view_and_the_suite_is_short(visit):
    page = visit("suite", viewport={"width": 1400, "height": 900})
    assert page.evaluate("document.documentElement.scrollHeight") < 10_000
    page.evaluate("scrollTo(0, 3000)")
    assert page.locator("nav").bounding_box()["y"] == 0
    page.locator("nav a", has_text="Figures").click()
    assert (
        page.locator("#figures").bounding_box()["y"] >= page.locator("nav").bounding_box()["height"]
    )


def test_cells_without_a_number_stay_last(visit):
    page = visit("suite")
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    table = page.locator("table", has=page.locator("tbody td:nth-child(7):empty")).first
    for _ in range(2):
        table.locator("thead button").nth(5).press("Enter")  # seeds; published rows have none
        seeds = table.evaluate(
            "table => [...table.tBodies[0].rows].map(row => row.cells[6].textContent)"
        )
        assert "" in seeds
        assert all(
            not later for place, seed in enumerate(seeds) if not seed for later in seeds[place:]
        )


def test_users_are_found_and_walked_through_by_keyboard(visit, reports):
    page = visit("run")
    users = json.loads((reports("run").parent / "run" / "explorer.json").read_text())
    shown = page.locator(".explorer article:visible h3")
    assert shown.text_content() == f"User {users[0]['user']}"
    tab_to(page, ".list")
    page.keyboard.press("ArrowDown")
    assert shown.text_content() == f"User {users[1]['user']}"
    assert page.url.endswith("#user-2")
    tab_to(page, ".previous")
    page.keyboard.press("Enter")
    assert page.url.endswith("#user-1")
    only_second = users[1]["history"][-1]  # the second history is longer by one
    assert only_second not in users[0]["history"]
    page.locator(".words").fill("no such words")
    assert page.locator(".count").text_content() == f"0 of {len(users)} users"
    assert shown.count() == 0
    page.locator(".words").fill("")
    page.locator(".outcome").select_option(label="scoter found what came next")
    hits = sum(any(item["truth"] for item in user["recommendations"]["scoter"]) for user in users)
    assert page.locator(".count").text_content() == f"{hits} of {len(users)} users"
    page.locator(".outcome").select_option(label="scoter missed it")
    assert page.locator(".count").text_content() == f"{len(users) - hits} of {len(users)} users"


def test_a_link_leads_to_a_user(visit):
    page = visit("run", "#user-2")
    assert page.locator(".explorer article:visible").get_attribute("id") == "user-2"


def test_without_a_script_every_user_and_number_is_there(visit):
    page = visit("run", java_script_enabled=False)
    assert page.locator(".explorer article:visible").count() == 2
    assert page.locator(".chooser:visible").count() == 0
    assert page.locator("thead button").count() == 0


def test_only_the_pages_own_script_may_run(visit, browser, reports):
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    blocked = []
    page.on("console", lambda message: blocked.append(message.text))
    page.goto(reports("run").as_uri())
    page.evaluate(
        """() => { const made = document.createElement('script');
        made.textContent = 'window.harmed = 1';
        document.body.append(made);
        const image = '<img src=x onerror="window.harmed = 1">';
        document.body.insertAdjacentHTML('beforeend', image); }"""
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.harmed") is None
    assert any("Content Security Policy" in text for text in blocked)
    context.close()
