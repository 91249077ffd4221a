"""The leaderboard as a Gradio app: results of model repositories on the Hub, as tables and pictures.

    python space/leaderboard.py                     here, at http://127.0.0.1:7860
    unimse push space OWNER/unimse-leaderboard      as a Space, with the packages that it imports; without torch

Repositories come from the text field, from a link (`?repos=owner/a,owner/b`), else from the variable UNIMSE_REPOS or
from `repos.txt` beside this file. An access token is used for those of the variable or the file only.
"""

import os
import re
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from markupsafe import escape

from dataset_scripts.hub_names import error_line
from trainer.hub_folders import hub_file
from trainer.leaderboard import Board, build_board
from trainer.leaderboard_format import legend
from trainer.leaderboard_html import SCRIPT, STYLE, render_pictures, render_tables
from trainer.leaderboard_plots import write_plots
from trainer.leaderboard_tables import source_table
from trainer.metric_names import OVERALL
from trainer.results_sources import fetch_available, find_results

REPOS_VARIABLE = "UNIMSE_REPOS"
REPOS_FILE = Path(__file__).with_name("repos.txt")
MOST_REPOS = 40  # of one request
LOOKS = Path(__file__).with_name("leaderboard.css")
FONTS = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}  # nothing from elsewhere
INTRODUCTION = """# UniMSE leaderboard
Multimodal sentiment and emotion: scores of models on the Hub, made again from their predictions where these are there.
"""


# --- what is shown ----------------------------------------------------------------------------------------------------


def parse_repos(text: str) -> list[str]:
    """Names between commas or blanks, each once; addresses of the Hub's pages are taken as names.

    Raises:
        ValueError: too many.
    """
    names = split_names(text)
    if len(names) > MOST_REPOS:
        raise ValueError(f"expected at most {MOST_REPOS} repositories at once, got {len(names)}; leave some out")
    return list(dict.fromkeys(names))


def split_names(text: str) -> list[str]:
    """Names between commas or blanks, however many; addresses of the Hub's pages are taken as names."""
    return [re.sub(r"^https?://[^/]+/", "", name).rstrip("/") for name in re.split(r"[\s,]+", text) if name]


def initial_repos() -> str:
    """What the text field holds when the page is opened without names in its link."""
    if REPOS_VARIABLE in os.environ:
        return os.environ[REPOS_VARIABLE]
    lines = REPOS_FILE.read_text(encoding="utf-8").splitlines() if REPOS_FILE.is_file() else []
    return ", ".join(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def load_board(
    repos: Sequence[str], folder: Path, with_token: Collection[str] = ()
) -> tuple[Board | None, dict[str, str]]:
    """The board of all repositories that can be shown together, and for each other one what is wrong with it.

    Args:
        folder: where results are downloaded to.
        with_token: those that an access token may be used for.
    """
    files, problems = fetch_available(repos, folder, with_token)
    board = _try_board(_together(files))
    if not isinstance(board, str):
        return board, problems
    alone = {repo: _try_board(paths) for repo, paths in files.items()}  # quicker than together, one after the other
    problems |= {repo: found for repo, found in alone.items() if isinstance(found, str)}
    files = {repo: paths for repo, paths in files.items() if repo not in problems}
    board = _try_board(_together(files))
    return (board, problems) if not isinstance(board, str) else _add_one_by_one(files, problems)


def _add_one_by_one(files: dict[str, list[Path]], problems: dict[str, str]) -> tuple[Board | None, dict[str, str]]:
    """Each is right alone: the board of those that go with the ones before them."""
    board, kept, problems = None, [], dict(problems)
    for repo, paths in files.items():
        found = _try_board([*kept, *paths])
        if isinstance(found, str):
            problems[repo] = found
        else:
            board, kept = found, [*kept, *paths]
    return board, problems


def _together(files: dict[str, list[Path]]) -> list[Path]:
    return [path for paths in files.values() for path in paths]


def _try_board(paths: Sequence[Path]) -> Board | str | None:
    """The board, `None` of nothing, or what is wrong."""
    try:
        return build_board(find_results(paths)) if paths else None
    except (OSError, ValueError) as error:
        return _with_hub_names(error_line(error), paths)


def _with_hub_names(message: str, paths: Sequence[Path]) -> str:
    """A message that names files as the Hub does, those beside the results too."""
    for path in paths:
        message = message.replace(f"{path.parent}{os.sep}", hub_file(path).name.removesuffix(path.name))
    return message


def render_messages(repos: Sequence[str], problems: dict[str, str]) -> str:
    """What could not be read and why, as HTML; nothing where all could."""
    if not repos:
        return '<p role="status">Enter names of model repositories, such as owner/name, and press Load.</p>'
    if not problems:
        return ""
    rest = "none is shown" if len(problems) == len(repos) else "the others are shown"
    lines = "".join(f"<li>{escape(problem)}</li>" for problem in problems.values())
    count = f"{len(problems)} of {len(repos)} repositories could not be used; {rest}."
    return f'<div role="alert" class="problems"><p>{count}</p><ul>{lines}</ul></div>'


def render_benchmark(board: Board, benchmark: str) -> str:
    """The tables of one benchmark and where their numbers come from, as HTML."""
    runs = [one for one in board.runs if benchmark in one.benchmarks]
    lines = "".join(f"<li>{escape(line)}</li>" for line in legend(runs))
    html = render_tables([*board.tables[benchmark], source_table(runs, board.names)])
    for one in runs:
        html = html.replace(f"<code>{escape(board.names[one.path])}</code>", _link(one.path, board.names[one.path]))
    return f'<details><summary>How to read the tables</summary><ul class="notes">{lines}</ul></details>{html}'


def _link(path: Path, name: str) -> str:
    from huggingface_hub.constants import ENDPOINT

    source = hub_file(path)
    address = escape(f"{ENDPOINT}/{source.repo}/blob/{source.revision}/{source.file}")
    return f'<a href="{address}" target="_blank" rel="noopener"><code>{escape(name)}</code></a>'


def draw_benchmark(board: Board, benchmark: str) -> str:
    """The pictures of one benchmark, as HTML that holds them, and why others could not be drawn."""
    problems: list[ValueError] = []
    with tempfile.TemporaryDirectory() as folder:
        pictures = write_plots({benchmark: board.sections[benchmark]}, Path(folder), on_error=problems.append)
        html = render_pictures(pictures)
    paths = [one.path for one in board.runs]
    lines = "".join(f"<li>{escape(_with_hub_names(error_line(problem), paths))}</li>" for problem in problems)
    return f'<div class="problems"><p>Not drawn:</p><ul>{lines}</ul></div>{html}' if problems else html


# --- the page ---------------------------------------------------------------------------------------------------------


def build_app(repos: str, folder: Path):
    """The `gradio.Blocks` of the page.

    Args:
        repos: names for the text field, and those for which an access token may be used.
        folder: where results are downloaded to.
    """
    import gradio as gr

    with_token = set(split_names(repos))
    plain = {"padding": False, "apply_default_css": False}
    with gr.Blocks(title="UniMSE leaderboard", analytics_enabled=False, fill_width=True) as app:
        gr.Markdown(INTRODUCTION)
        with gr.Row(elem_id="choose"):
            names = gr.Textbox(
                label="Model repositories on the Hub",
                placeholder="owner/name, owner/name@revision",
                max_lines=3,
                scale=1,
                min_width=300,
                elem_id="repos",
            )
            button = gr.Button("Load", variant="primary", scale=0, min_width=110, elem_id="load")
        messages = gr.HTML(visible=False, **plain, elem_id="messages")
        board, loads, plots_open = gr.State(), gr.State(0), gr.State(False)
        benchmark = gr.Radio(label="Benchmark", visible=False, elem_id="benchmark")
        style = _literal(STYLE.read_text(encoding="utf-8"))
        script = SCRIPT.read_text(encoding="utf-8") + "start(element);"
        with gr.Tabs(visible=False) as tabs:
            with gr.Tab("Tables") as tables_tab:
                tables = gr.HTML(css_template=style, js_on_load=script, **plain, elem_id="tables")
            with gr.Tab("Plots") as plots_tab:
                pictures = gr.HTML(css_template=style, **plain, elem_id="pictures")

        def names_of_link(request: gr.Request) -> str:
            return request.query_params.get("repos") or repos

        def load(text: str, count: int):
            try:
                wanted = parse_repos(text)
            except ValueError as error:
                raise gr.Error(str(error)) from error
            found, problems = load_board(wanted, folder, with_token)
            message, choices = render_messages(wanted, problems), list(found.tables) if found else []
            first = next((name for name in choices if name != OVERALL), OVERALL if choices else None)
            choice = gr.Radio(choices, value=first, visible=bool(choices))
            return {
                **{board: found, loads: count + 1, messages: gr.HTML(message, visible=bool(message))},
                **{benchmark: choice, tabs: gr.Tabs(visible=bool(choices))},
                **{tables: "", pictures: ""},  # those of what was loaded before
            }

        def show(found: Board | None, name: str | None, count: int) -> str:
            return f'<div data-load="{count}">{render_benchmark(found, name)}</div>' if name else ""

        def draw(found: Board | None, name: str | None, is_open: bool) -> str:
            return draw_benchmark(found, name) if name and is_open else ""  # drawing takes seconds

        shown = [tabs, tables, pictures]
        showing = {"fn": show, "inputs": [board, benchmark, loads], "outputs": tables}
        drawing = {"fn": draw, "inputs": [board, benchmark, plots_open], "outputs": pictures}
        opened = app.load(names_of_link, None, names)
        for event in (opened.then, button.click, names.submit):
            loaded = event(load, [names, loads], [board, loads, messages, benchmark, *shown], concurrency_limit=4)
            loaded.then(**showing).then(**drawing)
        benchmark.input(**showing).then(**drawing)
        tables_tab.select(lambda: False, None, plots_open)
        plots_tab.select(lambda: True, None, plots_open).then(**drawing)
    return app


def _literal(text: str) -> str:
    """Text that Gradio's templates, which are template strings of JavaScript, give back as it is."""
    return re.sub(r"[\\`]|\$(?={)", r"\\\g<0>", text)


def launch(app, **options):
    """Start the server with the looks of the page."""
    import gradio as gr

    css = LOOKS.read_text(encoding="utf-8")
    return app.launch(
        theme=gr.themes.Default(**FONTS), css=css, show_error=True, ssr_mode=False, footer_links=["settings"], **options
    )


def main() -> None:
    """Serve the page until it is interrupted."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    launch(build_app(initial_repos(), Path(tempfile.mkdtemp(prefix="unimse-leaderboard-"))))


if __name__ == "__main__":
    main()
