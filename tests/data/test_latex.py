"""The LaTeX cleaner does what TeX does, where the public pipelines' regular expressions do not (data anchors, arXiv)."""

import contextlib
import time
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.latex import LatexConfig, MacroLimit, clean, main_file
from data.latex_tokens import render, tokenize

HEAD = "\\documentclass{article}\n\\begin{document}\n\\title{T}\\begin{abstract}hidden\\end{abstract}\n\\section{One}"


def body(source: str, files: dict[str, str] | None = None, **options) -> str:
    """What is left of `source`, set as the body of a paper, after its section heading."""
    paper = {"main.tex": HEAD + source + "\n\\end{document}\nafter", **(files or {})}
    text = clean(paper, "main.tex", LatexConfig(**options)).text
    assert text.startswith("\\section{One}")
    return text.removeprefix("\\section{One}")


# Where the text begins and ends


@pytest.mark.parametrize("command", ["part", "chapter", "section", "subsection", "subsubsection", "paragraph", "subparagraph"])
@pytest.mark.parametrize("star", ["", "*"])
def test_text_begins_at_the_first_section_of_any_level(command: str, star: str) -> None:
    first = f"\\{command}{star}{{P}} text"
    assert clean({"a.tex": f"\\documentclass{{x}}\\begin{{document}}Front {first}"}, "a.tex", LatexConfig()).text == first


def test_sections_in_comments_definitions_and_verbatim_are_not_sections() -> None:
    source = (
        "\\documentclass{x}\\newcommand{\\q}{\\section{Q}}\\begin{document}\n%\\section{Old}\nfront \\verb|\\section{v}|\n"
        "\\renewcommand{\\section}[1]{gone} \\section\n\n\\section[short]{Real} text"
    )
    assert clean({"a.tex": source}, "a.tex", LatexConfig()).text == "\\section[short]{Real} text"
    by_macro = "\\newcommand{\\sect}[1]{\\section{#1}}\\begin{document} x \\sect{A} y"
    assert clean({"a.tex": by_macro}, "a.tex", LatexConfig()).text == "\\section{A} y"


def test_paper_without_sections_begins_after_its_abstract_or_is_dropped() -> None:
    letter = {"a.tex": "\\documentclass{x}\\begin{document}\\begin{abstract}A\\end{abstract}\\maketitle Text.\\end{document}"}
    assert clean(letter, "a.tex", LatexConfig()).text == "Text."
    assert clean(letter, "a.tex", LatexConfig(without_sections="drop")).text == ""


@pytest.mark.parametrize("name", ["thebibliography", "references", "REFERENCES"])
def test_only_the_bibliography_goes_not_what_follows_it(name: str) -> None:
    cited = f"\\begin{{{name}}}{{9}}\\bibitem{{q}} Q\\end{{{name}}}"
    source = f" a\n\\bibliographystyle{{x}}{cited}\\section{{Two}} b\\bibliography{{refs}}"
    assert body(source) == " a\n\\section{Two} b"
    assert body(" a \\printbibliography[heading=x] \\section*{References} 1. Smith. \\section{Two} c") == " a  \\section{Two} c"


@pytest.mark.parametrize("start", ["\\appendix", "\\appendices", "\\begin{appendices}"])
def test_appendix_goes_unless_it_is_asked_for(start: str) -> None:
    assert body(f" a {start} \\section{{B}} b") == " a"
    assert "\\section{B} b" in body(f" a {start} \\section{{B}} b", keep_appendix=True)
    assert body(" a \\begin{appendices} x \\end{appendices} z") == " a  z"


# Comments and verbatim


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (" of x% c", " of x"),
        (" y%", " y"),
        (" 50\\% of x % c\n d", " 50\\% of x\n d"),
        (" a \\\\% c\n b", " a \\\\b"),
        (" \\\\\\% kept", " \\\\\\% kept"),
        (" \\url{http://x/a%20b} c", " \\url{http://x/a%20b} c"),
        (" \\href{http://x/a%20{b}}{t%c\n} d", " \\href{http://x/a%20{b}}{t} d"),
        ("\n% whole\n  % lines\na", "\na"),
        (" a\n% c\n\nb", " a\n\nb"),
        (" a%\n\nb", " a\n\nb"),
        (" {a}%\n  {b}", " {a}{b}"),
        (" word% c\nword", " word\nword"),
        (" a\\begin{comment} x % \n y\\end{comment}b", " ab"),
        (" a\\iffalse x \\iftrue y\\fi z\\else b\\fi c", " a b c"),
        (" \\verb|%a| \\verb*+%+ % c", " \\verb|%a| \\verb*+%+"),
    ],
)
def test_comments_by_the_rules_of_tex(source: str, expected: str) -> None:
    assert body(source) == expected


@pytest.mark.parametrize("name", ["verbatim", "lstlisting", "minted", "Verbatim", "verbatim*"])
def test_verbatim_is_kept_to_the_letter(name: str) -> None:
    block = f"\\begin{{{name}}}\n% not a comment \\m  \n\n\n\n\\section{{no}} \\end{{document}}\n\\end{{{name}}}"
    assert body(f"\\newcommand{{\\m}}{{M}}\n{block} \\m") == f"\n{block} M"


# Macros


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("\\newcommand{\\a}{X}\\a\\a\\a ", "XXX"),
        ("\n\\newcommand{\\a}{X} % c\n  \\newcommand\\b{Y}\n\\a\\b", "\nXY"),
        ("\\newcommand{\\a}{X}\\newcommand{\\b}{Y\\a}\\b", "YX"),
        ("\\newcommand{\\b}{Y\\a}\\newcommand{\\a}{X}\\b", "YX"),
        ("\\def\\a{é\\q}\\a", "é\\q"),
        ("\\def\\g{X} \\gg \\g", " \\gg X"),
        ("%\\newcommand{\\a}{X}\n\\a", "\\a"),
        ("\\newcommand*{\\f}[2]{#2-#1}\\f{a}{b} \\f12 \\f {c} {d}", "b-a 2-1 d-c"),
        ("\\newcommand{\\f}[2][q]{(#1|#2)}\\f{x}\\f[y]{z}\\f [u] {v}", "(q|x)(y|z)(u|v)"),
        ("\\newcommand{\\a}{X}\\renewcommand{\\a}{Y}\\providecommand{\\a}{Z}\\providecommand{\\b}{B}\\a\\b", "YB"),
        ("\\DeclareMathOperator{\\tr}{tr}$\\tr x$", "$\\operatorname{tr} x$"),
        ("\\DeclareMathOperator*\\am{arg\\,max}$\\am x$", "$\\operatorname*{arg\\,max} x$"),
        ("\\def\\be{\\begin{equation}}\\def\\ee{\\end{equation}}\\be x\\ee", "\\begin{equation} x\\end{equation}"),
        ("\\def\\p(#1,#2){<#1;#2>}\\p(a,{b,c}) \\p x", "<a;b,c> \\p x"),
        ("\\def\\mk#1#2{\\def#1##1{[##1#2]}}\\mk\\z{!}\\z{a}", "[a!]"),
        ("\\let\\old\\phi\\renewcommand{\\phi}{\\varphi} $\\old\\phi$", " $\\phi\\varphi$"),
        ("{\\def\\a{1}\\a}\\a \\gdef\\c{2}", "{1}\\a"),
        ("\\def\\b{\\mathbf}$\\b x \\b{y}$ \\def\\R{\\mathbb R}\\R", "$\\mathbf x \\mathbf{y}$ \\mathbb R"),
        ("\\def\\v#1{\\mathbf#1}\\v x", "\\mathbf x"),
        ("\\newif\\ifdraft\\drafttrue \\ifdraft a\\else b\\fi\\draftfalse\\ifdraft c\\else d\\fi", "  a d"),
        ("\\newenvironment{pf}[1]{\\begin{proof}[#1]}{\\end{proof}}\\begin{pf}{T}z\\end{pf}", "\\begin{proof}[T]z\\end{proof}"),
        ("\\newcommand{\\x}{\n  line %\n  one\n}a\\x b", "aline one b"),
        ("\\newcommand{\\c}{\\textsf{C}\\xspace}\\c, \\c is", "\\textsf{C}, \\textsf{C} is"),
        ("\\newcommand{\\f}[1]{(#1)}\\f", "\\f"),
        ("\\newcommand{\\f}[1]{(#1)}\\f\n\nnext", "\\f\n\nnext"),
        ("\\newcommand{\\f", "\\newcommand{\\f"),
    ],
)  # fmt: skip
def test_macros_expand_as_worked_out_by_hand(source: str, expected: str) -> None:
    assert body(source).rstrip() == expected


@pytest.mark.parametrize("source", ["\\a", "\\b{}", "\\b", "{\\a}", "\\a%", "\\a\\"])
def test_a_macro_at_the_end_of_the_file_is_expanded(source: str) -> None:
    text = clean({"a.tex": "\\newcommand{\\a}{X}\\def\\b{X}\\section{A}" + source}, "a.tex", LatexConfig()).text
    assert text == "\\section{A}" + source.replace("\\a", "X").replace("\\b", "X").rstrip("%")


def test_a_choice_of_styles_is_that_of_a_line_of_text() -> None:
    choice = "\\newcommand{\\ct}{\\mathchoice{D} {\\mathbin{T}}{S}\n{SS}}"
    assert body(choice + "$a\\ct b$").strip() == "$a{\\mathbin{T}} b$"
    assert "\\ct b" in body("\\newcommand{\\ct}{\\mathchoice{D}{T}}$a\\ct b$")


def test_a_macro_that_is_a_program_keeps_its_call_and_loses_its_definition() -> None:
    source = "\\makeatletter\\def\\prd#1{\\@ifnextchar\\bgroup{\\prd@x{#1}}{#1}}\\makeatother $\\prd{x}$"
    cleaned = clean({"a.tex": "\\section{A}" + source}, "a.tex", LatexConfig())
    assert cleaned.text == "\\section{A} $\\prd{x}$" and cleaned.opaque == 1


def test_inputs_are_read_in_place_from_the_main_file_on() -> None:
    files = {
        "p/main.tex": "\\documentclass{x}\\input{macros}\\usepackage{own}"
        "\\begin{document}\\include{sec/intro}\\input sec/two \\end{document}",
        "p/macros.tex": "\\newcommand{\\R}{\\mathbb{R}}",
        "p/own.sty": "\\newcommand{\\own@x}{o}\\newcommand{\\own}{\\own@x}\\def\\own@y{z}",
        "p/sec/intro.tex": "\\section{I} $\\R$ \\input{p/sec/intro}\\input{missing}",
        "p/sec/two.tex": "\\documentclass[main]{subfiles}\\begin{document}\\section{II} t\\end{document} junk",
        "p/unused.tex": "\\section{Unused}",
    }
    assert main_file(files) == "p/main.tex"
    cleaned = clean(files, "p/main.tex", LatexConfig())
    assert cleaned.text == "\\section{I} $\\mathbb{R}$ \\section{II} t"
    assert cleaned.missing == 2  # itself, and a file that is not there


@pytest.mark.parametrize(
    "bomb",
    [
        "\\def\\x{\\x\\x}\\x",
        "\\def\\a{\\b\\b}\\def\\b{\\a}\\a",
        "".join(f"\\def\\a{chr(98 + n)}{{\\a{chr(97 + n)}\\a{chr(97 + n)}}}" for n in range(25)) + "\\az",
        "\\newcommand{\\d}[1]{#1#1}" + "\\d{" * 60 + "boom" + "}" * 60,
        "\\def\\x#1{\\x{#1#1}}\\x{a}",
        "\\input{i}",
    ],
)
def test_macro_bombs_stop_at_a_limit(bomb: str) -> None:
    start = time.process_time()
    with pytest.raises(MacroLimit):
        body(bomb, {"i.tex": "\\input{j}\\input{j}\\input{j}", "j.tex": "\\input{k} " * 500, "k.tex": "x{} " * 50_000})
    assert time.process_time() - start < 10


# Against an evaluation of the same paper as a tree, never as text

text = st.text("0123456789+-.", min_size=1, max_size=4)


def terms(macros: list[int], parameters: int) -> st.SearchStrategy:
    leaves = [text] + ([st.integers(1, parameters).map(lambda n: ("parameter", n))] if parameters else [])
    calls = lambda inner: [  # noqa: E731
        st.tuples(st.just("call"), st.just(index), st.tuples(*[st.lists(inner, max_size=2)] * count))
        for index, count in enumerate(macros)
    ]
    return st.recursive(st.one_of(leaves), lambda inner: st.one_of(calls(inner)) if macros else inner, max_leaves=4)


@st.composite
def papers(draw: st.DrawFn) -> tuple[str, str]:
    """A paper of nested macros as LaTeX, and its expansion evaluated on the tree."""
    counts: list[int] = []
    bodies: list[list] = []
    source = ""
    for index in range(draw(st.integers(1, 4))):
        count = draw(st.integers(0, 3))
        bodies.append(draw(st.lists(terms(counts, count), max_size=3)))
        counts.append(count)
        name, written = f"\\m{'abcd'[index]}", "".join(map(latex, bodies[-1]))
        pattern = "".join(f"#{n + 1}" for n in range(count))
        form = draw(
            st.sampled_from([f"\\newcommand{{{name}}}[{count}]", f"\\def{name}{pattern}", f"\\renewcommand*{name}[{count}]"])
        )
        source += f"{form}{{{written}}}"
    top = draw(st.lists(terms(counts, 0), min_size=1, max_size=5))
    return source + "".join(map(latex, top)), "".join(value(term, bodies, []) for term in top)


def latex(term) -> str:
    if isinstance(term, str):
        return term
    if term[0] == "parameter":
        return f"#{term[1]}"
    return f"\\m{'abcd'[term[1]]}" + "".join("{" + "".join(map(latex, argument)) + "}" for argument in term[2])


def value(term, bodies: list[list], arguments: list[str]) -> str:
    if isinstance(term, str):
        return term
    if term[0] == "parameter":
        return arguments[term[1] - 1]
    inner = ["".join(value(part, bodies, arguments) for part in argument) for argument in term[2]]
    return "".join(value(part, bodies, inner) for part in bodies[term[1]])


@settings(max_examples=200, deadline=None)
@given(papers())
def test_expansion_equals_the_value_of_the_tree(paper: tuple[str, str]) -> None:
    source, expected = paper
    assert body("!" + source) == "!" + expected


# Any text, any length

COMMANDS = (
    r"\ { } [ ] % # #1 a é = * \def \newcommand \x \y \let \input{b} \begin{verbatim} \end{verbatim} \verb| \url{ \iffalse \fi "
    r"\else \newif\ify \section{S} \begin{document} \end{document} \begin{comment} \end{comment} \newenvironment{e} \begin{e} "
    r"\end{e} \makeatletter \@x"
)
ALPHABET = st.sampled_from([*COMMANDS.split(), "\n", " ", "\ud800", "\x00"])


@settings(max_examples=400, deadline=None)
@given(st.lists(ALPHABET, max_size=60).map("".join))
def test_no_text_makes_the_cleaner_raise(source: str) -> None:
    with contextlib.suppress(MacroLimit):
        clean({"a.tex": source, "b.tex": source[::2]}, "a.tex", LatexConfig(max_expansions=2000))


LONGER = st.sampled_from(
    [
        *COMMANDS.split(),
        "\n",
        " ",
        "\n\n",
        "plain text ",
        "\\\\",
        "\\ ",
        "\\alpha ",
        "\\begin{equation}",
        "\\end{equation}",
        "1",
        "\\%",
        "\\newcommand{\\x}[1]{<#1>}",
        "\\def\\y(#1){[#1]}",
        "{\\def\\alpha{A}\\alpha}",
        "\\x{\\alpha}",
        "\\renewenvironment{equation}{E}{Q}",
        "\\bibliography{a}",
        "\\nocite[b]{c}",
        "\\begin{thebibliography}",
        "\\end{thebibliography}",
        "\\section*[a]{References}",
        "\\bye",
    ]
)


def _one_by_one(source: str, at_is_letter: bool = False, stops: object = None) -> list[str]:
    return tokenize(source, at_is_letter)


def _cleaned(files: dict[str, str], config: LatexConfig, cut: object) -> object:
    with mock.patch("data.latex.tokenize", cut):
        try:
            return clean(files, "a.tex", config)
        except MacroLimit:
            return None


@settings(max_examples=400, deadline=None)
@given(st.lists(LONGER, max_size=40).map("".join))
def test_spans_of_source_change_nothing(source: str) -> None:
    files, config = {"a.tex": source, "b.tex": source[::2]}, LatexConfig(max_expansions=2000)
    assert len({_cleaned(files, config, cut) for cut in (tokenize, _one_by_one)}) == 1


CALLS = "\\newcommand{\\m}[2]{\\x{#2}#1b}\\newcommand{\\k}{A b}\\k\\m{c}{\\k}"


@settings(max_examples=400, deadline=None)
@given(st.lists(LONGER, max_size=40).map("".join), st.integers(1, 2))
def test_calls_replaced_as_text_are_those_replaced_by_tokens(source: str, times: int) -> None:
    files, config = {"a.tex": HEAD + (source + CALLS) * times}, LatexConfig(max_expansions=2000)
    quick = _cleaned(files, config, tokenize)
    with mock.patch("data.latex_text_macros.TextMacros._as_text", lambda *_: ""):
        assert _cleaned(files, config, tokenize) == quick


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("\\newcommand{\\k}{A}\\k\\k \\renewcommand{\\k}{C}\\k", "AA C"),
        ("\\newcommand{\\k}{A}\\k{\\def\\k{B}\\k}\\k", "A{B}A"),
        ("\\newcommand{\\k}{A}\\let\\o\\k\\k\\renewcommand{\\k}{B\\o}\\k", "ABA"),
        ("\\newcommand{\\k}{\\late}\\k\\newcommand{\\late}{L}\\k", "\\late L"),
        (
            "\\newcommand{\\v}[2]{\\w #2,#1}\\v{a{b}\\}}{c}\\v{\\%}{}d\\renewcommand{\\v}[1]{<#1>}\\v{e}f",
            "\\w c,a{b}\\}\\w ,\\%d<e>f",
        ),
        ("\\newcommand{\\v}[1]{\\w#1}\\v{a}", "\\w a"),
    ],
)
def test_calls_mean_what_was_defined_before_them(source: str, expected: str) -> None:
    assert body(" " + source) == f" {expected}"


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("\\{}[]#$ \nab@*="), max_size=60))
def test_tokens_are_the_source_when_there_is_nothing_to_remove(source: str) -> None:
    assert "".join(tokenize(source)) == source
    assert tokenize(render(tokenize(source))) == tokenize(render(tokenize(render(tokenize(source)))))


REPEATED = (
    r"\x{ \x[ \d( { } \url{ \url{% \begin{verbatim} \verb| \begin{thebibliography} \section[ \newcommand \def\q \begin{e} # \end "
    r"\begin{comment} \k \k\def\k{k} {a} \v{a}"
)


@pytest.mark.parametrize("unit", [*REPEATED.split(), "%\n", " %", " \t", "\n", "a%\n  ", "\\iffalse ", "\\x a", "\\def\\q{}\n  "])
def test_time_is_linear_on_hostile_repetition(unit: str) -> None:
    head = "\\newcommand{\\k}{k}\\newcommand{\\v}[1]{\\v}\\newcommand{\\x}[2][o]{#1#2}"
    head += "\\def\\d(#1){#1}\\newenvironment{e}[1]{#1}{}\\section{S}"
    seconds = []
    for size in (50_000, 200_000):
        start = time.process_time()
        with contextlib.suppress(MacroLimit):
            clean({"a.tex": head + unit * (size // len(unit))}, "a.tex", LatexConfig())
        seconds.append(time.process_time() - start)
    assert seconds[1] < 8 * seconds[0] + 1.0, seconds
