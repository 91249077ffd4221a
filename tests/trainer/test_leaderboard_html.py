"""The leaderboard's page: whole in one file, and sorted, filtered and readable in a browser."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from results_files import make_results, write_many, write_results

from trainer import leaderboard_plots
from trainer.leaderboard import build_board, write_leaderboard
from trainer.leaderboard_html import anchor, render_html
from trainer.leaderboard_plots import write_plots
from trainer.results_file import seal

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def make_files(folder):
    """Two groups of seeds, one run of text only, and one whose name is hostile."""
    return [*write_many(folder), write_results(folder / "more", run="<b>bold<b> & co", skill=0.75)]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return build_board(make_files(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def page_file(board, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    pictures = write_plots({"mosi": board.sections["mosi"]}, folder / "plots")
    path = folder / "leaderboard.html"
    path.write_text(render_html(board.tables, pictures, board.runs, board.names), encoding="utf-8")
    shutil.rmtree(folder / "plots", ignore_errors=True)  # the page must not need them
    return path


class Parser(HTMLParser):
    """Counts of tags, ids, and every address that a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.fetched, self.counts = [], [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.ids += [values["id"]] if "id" in values else []
        self.fetched += [values["src"]] if "src" in values else []
        self.fetched += [values["href"]] if tag == "link" else []
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(page_file, board):
    text = page_file.read_text("utf-8")
    parsed = Parser(text)
    assert not parsed.open and len(set(parsed.ids)) == len(parsed.ids)
    assert all(address.startswith("data:") for address in parsed.fetched)
    assert not re.search(r"https?://|@import|url\(", text)
    assert parsed.counts["table"] == sum(map(len, board.tables.values())) + 1, "and the sources"


def test_every_cell_is_on_the_page_with_its_unrounded_value(page_file, board):
    text = page_file.read_text("utf-8")
    row = board.tables["mosi"][0].rows[0]
    value = next(cell.value for cell in row if isinstance(cell.value, float))
    assert f'data-value="{value!r}"' in text
    assert "&lt;b&gt;bold&lt;b&gt; &amp; co" in text and "<b>bold" not in text
    assert "(quoted)" in text and "Not comparable with protocol 1" in text


def test_pictures_are_inside(page_file):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    assert page_file.read_text("utf-8").count('src="data:image/png;base64,') == 2


def test_the_page_is_written_without_matplotlib(board, tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard_plots, "find_spec", lambda name: None)
    written = write_leaderboard([one.path for one in board.runs], tmp_path)
    assert tmp_path / "leaderboard.html" in written
    assert "<img" not in (tmp_path / "leaderboard.html").read_text("utf-8")


def test_anchors_are_plain():
    assert anchor("My data/set", "protocol-1") == "my-data-set-protocol-1"


def test_names_that_give_one_anchor_get_two(tmp_path):
    """Also those that the page itself has, and a benchmark named as another one's table."""
    content = make_results()
    names = ["my_data", "my-data", "sources", "filter", "mosi", "mosi.protocol-1"]
    metrics = {f"{name}/mae": 0.5 for name in names}
    fields = {"data": dict.fromkeys(names, content["data"]["mosi"]), "metrics": metrics}
    path = tmp_path / "run.json"
    empty = {"intervals": {}, "per_class": {}, "confusion": {}}
    path.write_text(json.dumps(seal(content | fields | empty)), encoding="utf-8")
    board = build_board([path])
    text = render_html(board.tables, [], board.runs, board.names)
    parsed = Parser(text)
    assert len(set(parsed.ids)) == len(parsed.ids) and {"my-data", "my-data-2", "sources-2"} <= set(parsed.ids)
    addresses = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', text)
    assert [name for _, name in addresses] == [*board.tables, "sources"]
    assert {address for address, _ in addresses} <= set(parsed.ids) and len(set(addresses)) == len(addresses)
    for address, name in addresses[:-1]:
        assert f'<section id="{address}">\n<h2>{name}</h2>' in text


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="the page is driven with playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH to drive the page in")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser, page_file):
    """Opens the page in a window of a width; fails where the page logs an error or asks for anything but itself."""
    complaints, contexts = [], []

    def open_at(width=1400, **settings):
        contexts.append(browser.new_context(viewport={"width": width, "height": 844}, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if request.url.startswith("http") else None)
        page.goto(page_file.as_uri())
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert not complaints


def column(page, table, title):
    """Values to sort by of one column, from top to bottom."""
    script = """([id, title]) => {
        const table = document.querySelector(`#${id} table`);
        const index = Array.from(table.tHead.rows[0].cells).findIndex((cell) => cell.textContent.trim() === title);
        return Array.from(table.tBodies[0].rows, (row) => row.cells[index].dataset.value);
    }"""
    return page.evaluate(script, [table, title])


def test_headers_sort_by_value_both_ways_and_say_so(open_page):
    page = open_page()
    header = page.locator("#mosi-protocol-1 th", has=page.get_by_role("button", name="MAE ↓", exact=True))
    header.locator("button").click()
    values = [float(value) for value in column(page, "mosi-protocol-1", "MAE ↓")]
    assert values == sorted(values) and len(values) == 3
    assert header.get_attribute("aria-sort") == "ascending"
    header.locator("button").click()
    assert [float(value) for value in column(page, "mosi-protocol-1", "MAE ↓")] == sorted(values, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    page.locator("#mosi-protocol-1").get_by_role("button", name="run").click()
    names = column(page, "mosi-protocol-1", "run")
    assert names[0] == "<b>bold<b> & co" and header.get_attribute("aria-sort") is None


def test_the_keyboard_sorts_too(open_page):
    page = open_page()
    page.locator("#mosi-protocol-1").get_by_role("button", name="Corr ↑").focus()
    page.keyboard.press("Enter")
    ascending = [float(value) for value in column(page, "mosi-protocol-1", "Corr ↑")]
    page.keyboard.press("Space")
    descending = [float(value) for value in column(page, "mosi-protocol-1", "Corr ↑")]
    assert ascending == sorted(ascending) and descending == ascending[::-1] and len(set(ascending)) == 3


def test_missing_values_stay_last(open_page):
    """Of the quoted numbers many have none: they come last in both directions, and numbers are not sorted as text."""
    page = open_page()
    for title, expected in {"Accuracy ↑": ["0.6509"], "Weighted F1 ↑": ["0.55", "0.564", "0.6551", "0.6561"]}.items():
        button, missing = page.locator("#meld-quoted").get_by_role("button", name=title), [""] * (4 - len(expected))
        button.click()
        assert column(page, "meld-quoted", title) == [*expected, *missing]
        button.click()
        assert column(page, "meld-quoted", title) == [*expected[::-1], *missing]
    page.locator("#sources").get_by_role("button", name="seed").click()
    assert column(page, "sources", "seed") == ["1", "1", "1", "1", "2", "2", "3", "3"]


def test_the_filter_hides_rows_and_tables_without_any(open_page):
    page = open_page()
    rows = page.locator("#meld-protocol-1 tbody tr")
    assert [row.is_visible() for row in rows.all()] == [True, True, True]
    page.get_by_label("Filter rows").fill("cross T+A+V")
    assert [row.locator("th").inner_text() for row in rows.all() if row.is_visible()] == ["cross"]
    assert not page.locator("#meld-quoted").is_visible() and not page.locator("#meld-protocol-2").is_visible()
    assert re.fullmatch(r"\d+ of \d+ rows", page.locator("output").inner_text())
    page.get_by_label("Filter rows").fill("meld quoted")
    assert page.locator("#meld-quoted").is_visible() and not page.locator("#mosi-quoted").is_visible()
    page.get_by_label("Filter rows").fill("")
    assert all(row.is_visible() for row in rows.all()) and page.locator("output").inner_text() == ""


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_never_scrolls_sideways_but_its_tables_do(open_page, width):
    page = open_page(width)
    sizes = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert sizes[0] <= sizes[1] <= width
    box = page.locator("#mosi-protocol-1 .scroll")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.evaluate("box => { box.scrollLeft = 300 }")
    shift = box.evaluate(
        "box => box.querySelector('tbody th').getBoundingClientRect().left - box.getBoundingClientRect().left"
    )
    assert abs(shift) < 2, "the run's name stays in sight"


def test_dark_is_dark(open_page):
    background = "getComputedStyle(document.body).backgroundColor"
    assert open_page(color_scheme="light").evaluate(background) == "rgb(255, 255, 255)"
    assert open_page(color_scheme="dark").evaluate(background) == "rgb(20, 23, 26)"


def test_without_javascript_the_tables_are_read_and_nothing_dead_is_shown(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("#mosi-protocol-1 table").is_visible() and not page.locator("#filter").is_visible()
