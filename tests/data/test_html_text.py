"""HTML of posts to text, against the tree of an HTML parser."""

import time

import lxml.html
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.html_text import html_text

CASES = {
    "paragraphs": ("<p>One\n two.</p>\n\n<p>Three<br>four</p>", "One two.\n\nThree\nfour"),
    "inline": ("<p>An <em>old</em> <a href='http://x'>link</a> &amp; <b>b</b>&lt;c&gt;</p>", "An old link & b<c>"),
    "code block": (
        "<p>So:</p><pre><code>if a &lt; b:\n    go()\n</code></pre><p>end</p>",
        "So:\n\n```\nif a < b:\n    go()\n```\n\nend",
    ),
    "language": ('<pre class="lang-py prettyprint-override"><code>x\n</code></pre>', "```py\nx\n```"),
    "ticks in code": ("<pre>a ``` b</pre><code>c`d</code>", "````\na ``` b\n````\n\n``c`d``"),
    "inline code": ("Use <code>a  &lt;b&gt;</code>.", "Use `a <b>`."),
    "lists": (
        "<ul><li>a</li><li><p>b</p></li></ul><ol start=3><li>c<ul><li>d</li></ul></li><li>e</ol>f",
        "- a\n- b\n\n3. c\n  - d\n4. e\n\nf",
    ),
    "comments and scripts": ("a<!-- language: c --><script>x</script><style>y</style>b", "ab"),
    "not a tag": ("1 < 2 and 3 > 2 &copy;", "1 < 2 and 3 > 2 ©"),
    "quote and heading": ("<h2>H</h2><blockquote><p>q</p></blockquote>r", "H\n\nq\n\nr"),
}


def test_numbers_of_no_character_are_one_replacement_character() -> None:
    assert html_text("a&#" + "9" * 5000 + ";b&#x" + "f" * 5000 + " &#65;") == "a\ufffdb\ufffd A"


@pytest.mark.parametrize("name", CASES)
def test_what_is_left(name: str) -> None:
    source, wanted = CASES[name]
    assert html_text(source) == wanted


TEXT = st.text("ab &;<>`\n\té", max_size=8).map(lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
HTML = st.recursive(
    TEXT,
    lambda inner: st.one_of(
        st.builds(
            lambda tag, body: f"<{tag}>{body}</{tag}>",
            st.sampled_from(["p", "b", "em", "a", "blockquote", "ul", "h1", "div"]),
            inner,
        ),
        st.lists(inner, min_size=2, max_size=4).map("".join),
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(HTML)
def test_the_letters_are_those_of_the_parsed_tree(source: str) -> None:
    tree = lxml.html.fragment_fromstring(source, create_parent="div")
    assert "".join(html_text(source).split()) == "".join(tree.text_content().split())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<pre>", "</pre>", "<code>", "</code>", "<li>", "<ul>", "</ol>", "<ol>", "<!--", "-->", "<", "a", " ", "\n", "&#0;"]
        )
    )
)
def test_any_soup_of_tags_is_read(pieces: list[str]) -> None:
    text = html_text("".join(pieces))
    assert "<pre>" not in text and "<ul>" not in text
    text.encode()


@pytest.mark.parametrize("unit", ["<ul><li>", "<pre>", "<code>", "<!--", "<script>", "<a href='", "<b", "&lt;", "<p> "])
def test_cost_is_linear(unit: str) -> None:
    def seconds(characters: int) -> float:
        start = time.process_time()
        html_text(unit * (characters // len(unit)))
        return time.process_time() - start

    assert seconds(800_000) < 24 * min(seconds(100_000), seconds(100_000)) + 0.2


def test_a_tag_that_is_all_name_costs_what_its_length_costs() -> None:
    began = time.process_time()
    assert html_text("<" + "a" * 900_000) == "<" + "a" * 900_000
    assert time.process_time() - began < 1
