"""Markdown of a leaderboard: what results files say is shown as it stands, whatever it holds."""

import json

import pytest
from results_files import make_results

from trainer.leaderboard import write_leaderboard
from trainer.leaderboard_markdown import code_span, escape_text, markdown_table
from trainer.leaderboard_tables import Cell
from trainer.results_file import seal

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://a.b/c.png)",
    "[1.5, 2.5](http://a.b)",
    "a | b \\| c",
    "`code` and ``more``",
    "**bold** _slanted_ ~~gone~~ $x$",
    "&lt;b&gt; &#60;",
    "end \\",
    "two\n\n# lines\r\n| a |",
    "# heading",
    "- item",
    "1. item",
    "> quotation",
    "---",
]


@pytest.mark.parametrize(
    "text",
    [
        "sample_cpu",
        "0.691 ± 0.010",
        "85.20 [82.1, 88.0]",
        "[+1.20, -3.40]",
        "-0.500",
        "<0.0001",
        "B *",
        "text & audio",
        "Acc-2 has0 ↑",
        "2/2",
        "context_after 2; modalities text+audio",
        "1,234,567",
        "n/a (seed 1: predictions are constant)",
    ],
)
def test_ordinary_text_stays_as_it_is(text):
    assert escape_text(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<b>", "\\<b>"),
        ("[a](b)", "\\[a](b)"),
        ("[1, 2](b)", "\\[1, 2](b)"),
        ("a|b`c\\d", "a\\|b\\`c\\\\d"),
        ("_a_ *b*", "\\_a\\_ \\*b\\*"),
        ("&amp;", "\\&amp;"),
        ("a\n\nb", "a b"),
        ("# a", "\\# a"),
        ("1. a", "1\\. a"),
    ],
)
def test_what_has_a_meaning_is_escaped(text, escaped):
    assert escape_text(text) == escaped


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("a_b", "`a_b`"),
        ("a`b", "``a`b``"),
        ("``a", "``` ``a ```"),
        ("a | b", "`a \\| b`"),
        ("a\nb", "`a b`"),
        ("a \\| <b", "<code>a &#92;&#124; &#60;b</code>"),
    ],
)
def test_code_has_a_fence_that_is_not_in_it(text, span):
    assert code_span(text) == span


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("code", [False, True])
def test_a_renderer_shows_the_text_in_its_cell_and_in_a_note(text, code):
    markdown_it = pytest.importorskip("markdown_it", reason="rendered with markdown-it-py")
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    lines = [*markdown_table(["a", "b"], [[Cell(text, text, code), "next"]]), ""]
    if not code:
        lines.append(f"- {escape_text(text)}")
    tokens = parser.parse("\n".join(lines))
    inline = [token for token in tokens if token.type == "inline"]
    shown = ["".join(child.content for child in token.children) for token in inline]
    if code and "\\|" in text:
        assert shown == ["a", "b", f"<code>{text}</code>", "next"]
        return
    plain = " ".join(text.split())
    assert shown == ["a", "b", plain, "next", *([] if code else [plain])]
    kinds = {child.type for token in inline for child in token.children}
    assert kinds == ({"text", "code_inline"} if code else {"text"})
    assert not {"heading_open", "blockquote_open", "hr"} & {token.type for token in tokens}


def test_a_hostile_results_file_makes_no_markup(tmp_path):
    content = make_results()
    hostile = "<b>x</b> [a](b)\n\n# c"
    fields = {"run": hostile, "command": "echo `id` | cat\n# x", "commit": "<i>"}
    metrics = content["metrics"] | {"mosi/corr": None}
    reasons = {"mosi/corr": hostile, "intervals/mosi/corr": hostile}
    intervals = content["intervals"] | {"mosi/corr": None}
    path = tmp_path / "run.json"
    path.write_text(
        json.dumps(seal(content | fields | {"metrics": metrics, "reasons": reasons, "intervals": intervals}))
    )
    write_leaderboard([path], tmp_path / "out")
    text = (tmp_path / "out" / "mosi.md").read_text("utf-8")
    shown = "\\<b>x\\</b> \\[a](b) # c"
    assert f"| 1 | {shown} | 1 |" in text and f"- {shown}, Corr: n/a (seed 1: {shown})" in text
    assert "| ``echo `id` \\| cat # x`` |" in text and "| \\<i> |" in text
    assert "\n# c" not in text and "\n# x" not in text
