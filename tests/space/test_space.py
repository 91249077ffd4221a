"""The leaderboard as a Space: its functions, and its page in a browser, against repositories of the local Hub."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from space import leaderboard
from tests.hub_server import ROOT, HubServer, client_environment, run_client
from tests.trainer.results_files import write_results
from trainer.leaderboard import build_board

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RUNS = {
    "tester/full-seed-1": {"run": "full", "skill": 0.8},
    "tester/full-seed-2": {"run": "full", "skill": 0.8, "seed": 2},
    "tester/cross": {"run": "cross", "fusion_type": "cross_attention", "skill": 0.95},
    "tester/weak": {"run": "weak", "skill": 0.1},
    "tester/text-only": {"run": "text-only", "skill": 0.4, "modalities": ("text",)},
}
PUBLISH = """
import json
from trainer.cli import main
codes = [main(["push", folder, repo, "--public"]) for folder, repo in {places}]
codes.append(main(["push", {space!r}, "tester/unimse-leaderboard"]))
print()
print(json.dumps(codes))
"""


def make_repository(folder: Path, **arguments) -> Path:
    """A folder like that of a model, with results and predictions."""
    path = write_results(folder, predictions=True, **arguments)
    path.rename(folder / "results.json")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """RUNS and the Space itself, pushed by `unimse push`."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("models")
    places = [(str(make_repository(folder / repo.replace("/", "-"), **RUNS[repo])), repo) for repo in RUNS]
    with HubServer() as server:
        code = PUBLISH.format(places=places, space=str(ROOT / "space"))
        assert run_client(server, code, folder / "home") == [0] * (len(RUNS) + 1)
        yield server


def start(command: list, hub: HubServer, folder: Path, **variables: str) -> tuple[subprocess.Popen, str]:
    """The Space in a process of its own, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1", "GRADIO_TEMP_DIR": str(folder / "gradio")}
    environment = client_environment(hub, folder / "home", token=None) | settings | variables
    log = folder / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
    ends = time.monotonic() + 60
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
        assert process.poll() is None and time.monotonic() < ends, log.read_text()
        time.sleep(0.1)
    return process, found[0]


@pytest.fixture(scope="module")
def address(hub, tmp_path_factory):
    command = [sys.executable, str(ROOT / "space" / "leaderboard.py")]
    process, url = start(command, hub, tmp_path_factory.mktemp("space"), UNIMSE_REPOS=", ".join(RUNS))
    yield url
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this computer")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def watched(browser):
    """The page, and what went wrong in it: errors of the console, and requests to anywhere else."""
    page, wrong = browser.new_page(viewport={"width": 1280, "height": 900}), []
    page.set_default_timeout(90_000)
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    local = re.compile(r"(https?|wss?)://127\.0\.0\.1|data:|blob:")
    page.on("request", lambda request: None if local.match(request.url) else wrong.append(request.url))
    return page, wrong


@pytest.fixture
def page(watched, address):
    """The page with the tables of MELD; nothing may have gone wrong in it at the end."""
    page, wrong = watched
    page.set_viewport_size({"width": 1280, "height": 900})
    leave(page)
    wrong.clear()
    page.goto(address)
    choose(page, "meld")
    yield page
    assert wrong == []


def leave(page) -> None:
    """To an empty page; the stream that Gradio keeps open breaks off there, as an error of the console."""
    page.goto("about:blank")


def choose(page, benchmark: str) -> None:
    page.locator("#benchmark label", has_text=benchmark).last.click()
    page.locator("#tables h3", has_text=f"{benchmark}, protocol 1").first.wait_for()


def load(page, *repos: str) -> None:
    page.locator("#repos textarea").fill(", ".join(repos))
    page.locator("#load").click()


def runs_of(page, table: str = "protocol-1") -> list[str]:
    """Names of the runs in a table, from top to bottom, as one sees them."""
    return page.locator(f"#{table} tbody tr:visible th").all_inner_texts()


# --- in a browser -----------------------------------------------------------------------------------------------------


def test_the_page_shows_a_table_for_each_protocol_and_quoted_numbers_apart(page):
    assert runs_of(page) == ["cross", "full", "weak"] and runs_of(page, "protocol-2") == ["text-only"]
    assert "it differs in: modalities" in page.locator("#protocol-2").inner_text()
    quoted = page.locator("#quoted tbody th").all_inner_texts()
    assert quoted and all(name.endswith("(quoted)") for name in quoted)
    assert page.locator("#quoted th", has_text="rank").count() == 0
    choose(page, "mosi")
    assert "MAE" in page.locator("#protocol-1 thead").inner_text()


def test_every_number_leads_to_a_file_at_a_commit(page, hub):
    sha = hub.repositories["model", "tester/cross"].resolve("main")
    link = page.locator("#sources a", has_text=f"tester/cross@{sha[:12]}/results.json")
    assert link.get_attribute("href") == f"{hub.url}/tester/cross/blob/{sha}/results.json"
    assert page.locator("#sources tbody tr").count() == len(RUNS)
    assert page.locator("#protocol-1 td", has_text="recomputed").count() == 3


def test_a_header_sorts_its_table(page):
    header = page.locator("#protocol-1 thead button", has_text="Weighted F1")
    header.click()
    assert runs_of(page) == ["weak", "full", "cross"]
    header.click()
    assert runs_of(page) == ["cross", "full", "weak"]
    page.locator("#protocol-1 thead button", has_text="run").first.click()
    assert runs_of(page) == ["cross", "full", "weak"]
    choose(page, "mosi")  # other tables in the same place
    page.locator("#protocol-1 thead button", has_text="MAE").click()
    page.locator("#protocol-1 thead button", has_text="MAE").click()
    assert runs_of(page)[0] == "weak"


def test_the_filter_keeps_rows_with_its_words(page):
    page.locator("#filter").fill("cross constrained")
    assert runs_of(page) == ["cross"] and not page.locator("#protocol-2").is_visible()
    page.locator("#filter").fill("")
    assert len(runs_of(page)) == 3 and page.locator("#protocol-2").is_visible()


def test_plots_are_drawn_for_the_benchmark_that_is_chosen(page):
    page.get_by_role("tab", name="Plots").click()
    for benchmark in ("meld", "mosi"):
        page.locator("#benchmark label", has_text=benchmark).last.click()
        page.locator(f"#pictures img[alt*='{benchmark}']").first.wait_for()
        images = page.locator("#pictures img")
        shown = images.evaluate_all("all => all.map((image) => [image.alt, image.naturalWidth > 300])")
        assert len(shown) >= 3 and all(benchmark in alt and drawn for alt, drawn in shown), shown


def test_what_is_wrong_with_a_repository_is_said_and_the_others_are_shown(page):
    load(page, "tester/cross", "tester/none", "tester/weak", "nonsense")
    message = page.get_by_role("alert")
    message.wait_for()
    text = message.inner_text()
    assert "2 of 4 repositories could not be used; the others are shown." in text
    assert "tester/none: expected a model repository on the Hub" in text and "nonsense: expected owner/name" in text
    choose(page, "meld")
    page.locator("#protocol-1").wait_for()
    assert runs_of(page) == ["cross", "weak"]
    load(page, "tester/none")
    page.get_by_text("1 of 1 repositories could not be used; none is shown.").wait_for()
    page.locator("#benchmark").wait_for(state="hidden")
    load(page, "tester/weak")
    message.wait_for(state="hidden")
    assert page.locator("#benchmark").is_visible()


def test_a_link_names_repositories(page, watched, address):
    leave(page)
    watched[1].clear()
    page.goto(f"{address}?repos=tester/text-only,tester/weak@main")
    choose(page, "meld")
    assert runs_of(page) == ["weak"] and runs_of(page, "protocol-2") == ["text-only"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_a_phone_wide_tables_scroll_in_themselves(page, watched, address, theme):
    page.set_viewport_size({"width": 390, "height": 844})
    leave(page)
    watched[1].clear()
    page.goto(f"{address}?__theme={theme}")
    choose(page, "meld")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = page.locator("#protocol-1 .scroll")
    assert wide.evaluate("element => element.scrollWidth > element.clientWidth")
    colors = "getComputedStyle(document.querySelector('#protocol-1 td'))"
    ink = page.evaluate(f"{colors}.color.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b)")
    assert (ink > 380) == (theme == "dark")  # light letters on dark


# A Space has its own files and what its requirements bring; neither the project nor torch.
ALONE = """
import runpy, sys
class Hide:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *rest):
        return None if name.split(".")[0] in ("torch", "transformers") else self.finder.find_spec(name, *rest)
finders = [f for f in sys.meta_path if "editable" not in getattr(f, "__name__", repr(f)).lower()]
sys.meta_path = [Hide(finder) for finder in finders]
runpy.run_path("leaderboard.py", run_name="__main__")
"""


def test_the_pushed_space_runs_without_the_project_and_without_torch(hub, watched, tmp_path):
    tree = hub.repositories["space", "tester/unimse-leaderboard"].tree("main")
    assert {"README.md", "requirements.txt", "leaderboard.py", "leaderboard.css", "trainer/leaderboard.js"} <= set(tree)
    assert not [name for name in tree if "__pycache__" in name]
    for name, blob in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(blob.data)
    process, url = start([sys.executable, "-c", ALONE], hub, tmp_path, PYTHONPATH="")
    page, wrong = watched
    leave(page)
    wrong.clear()
    try:
        page.goto(f"{url}?repos=tester/cross")
        choose(page, "meld")
        assert runs_of(page) == ["cross"] and page.locator("#protocol-1 td", has_text="recomputed").count() == 1
    finally:
        process.terminate()
        process.wait(20)
    assert wrong == []


# --- without a browser ------------------------------------------------------------------------------------------------


def test_names_stand_between_commas_blanks_or_lines():
    text = " a/b, c/d@v1\n\nhttps://huggingface.co/e/f/  a/b,"
    assert leaderboard.parse_repos(text) == ["a/b", "c/d@v1", "e/f"]
    assert leaderboard.parse_repos(" ,\n") == []
    with pytest.raises(ValueError, match="expected at most 40 repositories at once, got 41"):
        leaderboard.parse_repos(" ".join(f"a/{number}" for number in range(41)))


def test_the_first_names_come_from_the_variable_else_from_the_file(tmp_path, monkeypatch):
    monkeypatch.delenv("UNIMSE_REPOS", raising=False)
    monkeypatch.setattr(leaderboard, "REPOS_FILE", tmp_path / "repos.txt")
    assert leaderboard.initial_repos() == ""
    (tmp_path / "repos.txt").write_text("# ours\na/b\n\n c/d@v1 \n")
    assert leaderboard.initial_repos() == "a/b, c/d@v1"
    monkeypatch.setenv("UNIMSE_REPOS", "e/f")
    assert leaderboard.initial_repos() == "e/f"


def test_messages_are_escaped_and_say_what_is_shown():
    said = leaderboard.render_messages(["a/b", "c/d"], {"a/b": "a/b: <script>"})
    assert "1 of 2 repositories could not be used; the others are shown." in said and "&lt;script&gt;" in said
    assert leaderboard.render_messages(["a/b"], {}) == ""
    assert "Enter names" in leaderboard.render_messages([], {})


def fetched(folder: Path, repo: str, **arguments) -> Path:
    """Results as they lie where `fetch_results` put them."""
    place = make_repository(folder / repo.replace("/", "--"), **arguments)
    (place / "source.json").write_text(json.dumps({"repo": repo, "revision": "0123456789abcdef"}))
    return place / "results.json"


def test_one_benchmark_as_html_has_no_path_of_this_computer(tmp_path):
    html = leaderboard.render_benchmark(build_board([fetched(tmp_path, 'tester/a"b', run="<full>")]), "meld")
    assert str(tmp_path) not in html and "&lt;full&gt;" in html and "<full>" not in html
    assert "/tester/a&#34;b/blob/0123456789abcdef/results.json" in html and 'id="sources"' in html


def test_a_run_that_clashes_with_an_earlier_one_is_left_out_by_name(tmp_path, monkeypatch):
    repos = {"tester/full": {"skill": 0.8}, "other/full": {"skill": 0.3}, "tester/cross": {"run": "cross"}}
    files = {repo: [fetched(tmp_path, repo, **arguments)] for repo, arguments in repos.items()}
    files["tester/full@main"] = files["tester/full"]
    monkeypatch.setattr(leaderboard, "fetch_available", lambda repos, folder: (files, {"a/b": "a/b: none"}))
    board, problems = leaderboard.load_board([*files, "a/b"], tmp_path)
    assert [one.run for one in board.runs] == ["cross-seed1", "full-seed1"] and list(problems) == ["a/b", "other/full"]
    assert problems["other/full"].startswith("other/full@0123456789ab/results.json: seed: expected another seed")
    assert "tester/full@0123456789ab/results.json" in problems["other/full"] and str(tmp_path) not in str(problems)


def test_the_card_names_the_file_and_the_version_that_runs_here():
    gradio, hub = pytest.importorskip("gradio"), pytest.importorskip("huggingface_hub")
    card = hub.metadata_load(ROOT / "space" / "README.md")
    assert (ROOT / "space" / card["app_file"]).is_file()
    assert (card["sdk"], card["sdk_version"]) == ("gradio", gradio.__version__)
    assert "torch" not in (ROOT / "space" / "requirements.txt").read_text()
