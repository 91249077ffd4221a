"""The leaderboard as a Space: its functions, and its page in a browser, against repositories of the local Hub."""

import json
import re
import runpy
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet
import pytest
from huggingface_hub import metadata_load

from space import leaderboard
from tests.hub_repository import Blob, Commit, Repository
from tests.hub_server import ROOT, TOKEN, HubServer, client_environment, run_client
from tests.trainer.results_files import write_results
from trainer.hub_folders import folder_name, write_source
from trainer.leaderboard import build_board
from trainer.results_file import file_digest, seal

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
RUNS = {
    "tester/full-seed-1": {"run": "full", "skill": 0.8},
    "tester/full-seed-2": {"run": "full", "skill": 0.8, "seed": 2},
    "tester/cross": {"run": "cross", "fusion_type": "cross_attention", "skill": 0.95},
    "tester/weak": {"run": "weak", "skill": 0.1},
    "tester/text-only": {"run": "text-only", "skill": 0.4, "modalities": ("text",)},
}
REVISION = "0123456789abcdef"
PREDICTION_COLUMNS = (
    *("id", "dataset", "sentiment", "emotion", "prediction", "predicted_sentiment", "predicted_emotion"),
    *("label_probability", "emotion_probabilities", "polarity_probabilities"),
)
PUBLISH = """
import json
from trainer.cli import main
print(json.dumps(main(["push", {space!r}, "tester/unimse-leaderboard"])))
"""


def put(server: HubServer, repo: str, folder: Path, private: bool = False) -> None:
    """A repository with the files of a folder."""
    repository = Repository("model", repo, private)
    files = {path.relative_to(folder).as_posix(): Blob(path.read_bytes()) for path in folder.rglob("*.*")}
    repository.add_commit("main", Commit(files, "files"))
    server.repositories["model", repo] = repository


def make_repository(folder: Path, **arguments) -> Path:
    """A folder like that of a model, with results and, unless asked otherwise, predictions; few rows, to be quick."""
    path = write_results(folder, **{"predictions": True, "rows": 40} | arguments)
    path.rename(folder / "results.json")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """RUNS, a private repository, and the Space itself, pushed by `unimse push`."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("models")
    with HubServer() as server:
        for repo, arguments in RUNS.items():
            put(server, repo, make_repository(folder / repo.replace("/", "-"), **arguments))
        put(server, "tester/hidden", folder / "tester-weak", private=True)
        assert run_client(server, PUBLISH.format(space=str(ROOT / "space")), folder / "home") == 0
        yield server


@contextmanager
def running(command: list, hub: HubServer, folder: Path, **variables: str) -> Iterator[str]:
    """The Space in a process of its own: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1", "GRADIO_TEMP_DIR": str(folder / "gradio")}
    environment = client_environment(hub, folder / "home", token=None) | settings | variables
    log = folder / "log.txt"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield wait_for_address(process, log)
    finally:
        end(process)


def wait_for_address(process: subprocess.Popen, log: Path) -> str:
    ends = time.monotonic() + 90
    while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
        assert process.poll() is None and time.monotonic() < ends, log.read_text()
        time.sleep(0.1)
    return found[0]


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address(hub, tmp_path_factory):
    """A server with a token for RUNS, which opens tester/hidden too, a name that the server's own list lacks."""
    command, folder = [sys.executable, str(ROOT / "space" / "leaderboard.py")], tmp_path_factory.mktemp("space")
    with running(command, hub, folder, UNIMSE_REPOS=", ".join(RUNS), HF_TOKEN=TOKEN) as url:
        yield url


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
    """Load repositories; the tables of what was there before are gone afterwards."""
    page.locator("#tables [data-load]").wait_for(state="attached")
    before = page.locator("#tables [data-load]").get_attribute("data-load")
    page.locator("#repos textarea").fill(", ".join(repos))
    page.locator("#load").click()
    page.locator(f"#tables [data-load='{before}']").wait_for(state="detached")


def runs_of(page, table: str = "protocol-1") -> list[str]:
    """Names of the runs in a table, from top to bottom, as one sees them."""
    return page.locator(f"#{table} tbody tr:visible th").all_inner_texts()


# --- in a browser -----------------------------------------------------------------------------------------------------


def test_the_page_shows_a_table_for_each_protocol_and_quoted_numbers_apart(page):
    assert runs_of(page) == ["tester/cross", "tester/full", "tester/weak"]
    assert runs_of(page, "protocol-2") == ["tester/text-only"]
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
    assert runs_of(page) == ["tester/weak", "tester/full", "tester/cross"]
    header.click()
    assert runs_of(page) == ["tester/cross", "tester/full", "tester/weak"]
    page.locator("#protocol-1 thead button", has_text="run").first.click()
    assert runs_of(page) == ["tester/cross", "tester/full", "tester/weak"]
    choose(page, "mosi")  # other tables in the same place
    page.locator("#protocol-1 thead button", has_text="MAE").click()
    page.locator("#protocol-1 thead button", has_text="MAE").click()
    assert runs_of(page)[0] == "tester/weak"


def test_the_filter_keeps_rows_with_its_words(page):
    page.locator("#filter").fill("cross constrained")
    assert runs_of(page) == ["tester/cross"] and not page.locator("#protocol-2").is_visible()
    page.locator("#filter").fill("")
    assert len(runs_of(page)) == 3 and page.locator("#protocol-2").is_visible()


def test_plots_are_drawn_for_the_benchmark_that_is_chosen(page):
    page.get_by_role("tab", name="Plots").click()
    for benchmark in ("meld", "mosi"):
        page.locator("#benchmark label", has_text=benchmark).last.click()
        page.locator(f"#pictures img[alt*='{benchmark}']").first.wait_for()
        images = page.locator("#pictures img")
        page.wait_for_function("[...document.querySelectorAll('#pictures img')].every((image) => image.complete)")
        shown = images.evaluate_all("all => all.map((image) => [image.alt, image.naturalWidth > 300])")
        assert len(shown) >= 3 and all(benchmark in alt and drawn for alt, drawn in shown), shown


def test_what_is_wrong_with_a_repository_is_said_and_the_others_are_shown(page):
    message = page.get_by_role("alert")
    load(page, "tester/cross", "tester/none", "tester/weak", "tester/hidden", "nonsense")
    message.wait_for()
    text = message.inner_text()
    assert "3 of 5 repositories could not be used; the others are shown." in text
    assert "tester/none: expected a model repository on the Hub" in text and "nonsense: expected owner/name" in text
    assert "tester/hidden: expected a model repository on the Hub" in text  # the token is for the Space's own list
    choose(page, "meld")
    assert runs_of(page) == ["tester/cross", "tester/weak"]
    load(page, "tester/none")
    page.get_by_text("1 of 1 repositories could not be used; none is shown.").wait_for()
    page.locator("#benchmark").wait_for(state="hidden")
    page.locator("#repos textarea").fill("tester/weak")
    page.locator("#load").click()
    choose(page, "meld")
    assert runs_of(page) == ["tester/weak"] and not message.is_visible()


def test_a_link_names_repositories(page, watched, address):
    leave(page)
    watched[1].clear()
    page.goto(f"{address}?repos=tester/text-only,tester/weak@main")
    choose(page, "meld")
    assert runs_of(page) == ["tester/weak"] and runs_of(page, "protocol-2") == ["tester/text-only"]


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
    page, wrong = watched
    leave(page)
    wrong.clear()
    listed = {"UNIMSE_REPOS": "tester/hidden", "HF_TOKEN": TOKEN}
    with running([sys.executable, "-c", ALONE], hub, tmp_path, PYTHONPATH="", **listed) as url:
        page.goto(url)
        choose(page, "meld")
        assert runs_of(page) == ["tester/weak"] and page.locator("#protocol-1 td", has_text="recomputed").count() == 1
        assert wrong == []
        leave(page)


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
    place = make_repository(folder / folder_name(repo, REVISION), **arguments)
    write_source(place, repo, REVISION)
    return place / "results.json"


def test_one_benchmark_as_html_has_no_path_of_this_computer(tmp_path):
    html = leaderboard.render_benchmark(build_board([fetched(tmp_path, 'tester/a"b', run="<full>")]), "meld")
    assert str(tmp_path) not in html and "&lt;full&gt;" in html and "<full>" not in html
    assert f"/tester/a&#34;b/blob/{REVISION}/results.json" in html and 'id="sources"' in html


def loaded(monkeypatch, files: dict[str, list[Path]], problems: dict[str, str] | None = None):
    """What `load_board` makes of files that were downloaded."""
    monkeypatch.setattr(leaderboard, "fetch_available", lambda repos, folder, with_token: (files, problems or {}))
    return leaderboard.load_board([*files, *(problems or {})], Path())


def test_a_run_that_clashes_with_an_earlier_one_of_its_owner_is_left_out_by_name(tmp_path, monkeypatch):
    repos = {"tester/full": {"skill": 0.8}, "tester/again": {"skill": 0.3}, "other/full": {"skill": 0.3}}
    files = {repo: [fetched(tmp_path, repo, predictions=False, **arguments)] for repo, arguments in repos.items()}
    files["tester/full@main"] = files["tester/full"]
    board, problems = loaded(monkeypatch, files, {"a/b": "a/b: none"})
    assert sorted(one.entry for one in board.runs) == ["other/full", "tester/full"]
    assert list(problems) == ["a/b", "tester/again"]
    assert problems["tester/again"].startswith(
        "tester/again@0123456789ab/results.json: expected the numbers of tester/full@"
    )
    assert "tester/full@0123456789ab/results.json" in problems["tester/again"] and str(tmp_path) not in str(problems)


def damage(path: Path, name: str, table: dict) -> Path:
    """Results whose predictions or states are this table, sealed as they should be."""
    beside = path.with_name(f"{name}.parquet")
    pyarrow.parquet.write_table(pyarrow.table(table), beside)
    entry = {"file": beside.name, "sha256": file_digest(beside)}
    path.write_text(json.dumps(seal(json.loads(path.read_text()) | {name: entry})))
    return path


def test_tables_and_pictures_of_before_go_with_the_messages_of_what_is_loaded(tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    monkeypatch.setattr(leaderboard, "load_board", lambda *_: (None, {"a/b": "a/b: none"}))
    app = leaderboard.build_app("", tmp_path)
    load = next(one for one in app.fns.values() if one.name == "load")
    given = {component.elem_id: value for component, value in load.fn("a/b", 3).items()}
    assert given["tables"] == given["pictures"] == "" and "a/b: none" in given["messages"].value
    assert {"tables", "pictures", "messages"} <= {component.elem_id for component in load.outputs}


def test_predictions_that_cannot_be_read_leave_the_other_repositories(tmp_path, monkeypatch):
    good, bad = (fetched(tmp_path, repo, run=repo[:1]) for repo in ("a/good", "b/bad"))
    damage(bad, "predictions", {name: [[1, 2]] * 80 for name in PREDICTION_COLUMNS})
    board, problems = loaded(monkeypatch, {"b/bad": [bad], "a/good": [good]})
    assert [one.entry for one in board.runs] == ["a/a"] and list(problems) == ["b/bad"]
    assert problems["b/bad"].startswith("b/bad@0123456789ab/predictions.parquet: expected Parquet with id (string)")


def test_states_that_cannot_be_drawn_leave_the_other_pictures(tmp_path, monkeypatch):
    path = damage(fetched(tmp_path, "a/b", rows=30), "states", {"id": ["x"] * 9, "before": [[1.0]] * 9})
    html = leaderboard.draw_benchmark(loaded(monkeypatch, {"a/b": [path]})[0], "overall")
    assert "Not drawn:" in html and "a/b@0123456789ab/states.parquet: expected the columns id, before, after" in html
    assert html.count("<img") == 1 and str(tmp_path) not in html


def made_by_setup(monkeypatch) -> dict:
    """The arguments of setup.py."""
    import setuptools

    found = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: found.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    return found


def test_the_card_names_the_file_and_the_oldest_gradio_that_the_project_takes(monkeypatch):
    card = metadata_load(ROOT / "space" / "README.md")
    assert (ROOT / "space" / card["app_file"]).is_file()
    (floor,) = (line for line in made_by_setup(monkeypatch)["extras_require"]["space"] if line.startswith("gradio"))
    oldest = re.escape(floor.removeprefix("gradio>="))
    assert card["sdk"] == "gradio" and re.fullmatch(rf"{oldest}(\.0)*", card["sdk_version"])


def test_the_extra_installs_what_a_space_has(monkeypatch):
    listed = (ROOT / "space" / "requirements.txt").read_text().split()
    extra = made_by_setup(monkeypatch)["extras_require"]["space"]
    assert sorted(line for line in extra if not line.startswith("gradio")) == listed
    assert not [line for line in listed if line.startswith("torch")]
