"""Questions about functions, and the short answers that their documentation gives.

A question is a function, an aspect (what it does, what it returns, ...) and a phrasing. The answers are sentences that
the base model has read in its corpora, so that a small model can learn to give them when asked.
"""

import re
from collections import Counter
from dataclasses import dataclass

from data.demo.deal import Material, inner_works
from data.demo.docstring import Field, FunctionDoc
from data.demo.markup import inline

LONGEST_ANSWER = 150  # characters: about 40 tokens
ASPECTS = ("does", "returns", "parameters", "example", "module", "which")

# Phrasings to be tuned on, others that only prompts have, and those that no training data has.
TUNED, PROMPTED, HELD_OUT = "tuned", "prompted", "held out"
_PHRASINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "does": {
        TUNED: (
            "What does {qualified} do?",
            "What is {qualified} for?",
            "Explain {qualified}.",
            "Tell me what {name} in {module} does.",
            "I found {qualified} in some code. What is it?",
        ),
        PROMPTED: (
            "What can I use {qualified} for?",
            "Could you explain {name} from {module}?",
            "My program calls {qualified}. What happens there?",
        ),
        HELD_OUT: ("Please say what {qualified} is good for.", "In {module} there is {name}. What does it do?"),
    },
    "returns": {
        TUNED: ("What does {qualified} return?", "What do I get back from {qualified}?"),
        PROMPTED: ("What is the result of {name} in {module}?", "What comes out of {qualified}?"),
        HELD_OUT: ("What is returned by {qualified}?",),
    },
    "parameters": {
        TUNED: ("What are the parameters of {qualified}?", "Which arguments does {qualified} take?"),
        PROMPTED: ("What do I pass to {name} in {module}?", "What goes into {qualified}?"),
        HELD_OUT: ("Which parameters does {qualified} have?",),
    },
    "example": {
        TUNED: ("Give an example of {qualified}.", "Show me how {qualified} is used."),
        PROMPTED: ("How would I use {name} from {module}?",),
        HELD_OUT: ("Show me an example of {qualified}.",),
    },
    "module": {
        TUNED: ("In which module is {name}?", "Where do I find {name}?"),
        PROMPTED: ("Which module has {name}?",),
        HELD_OUT: ("In which module do I find {name}?",),
    },
    "which": {
        TUNED: ("Which function of {package} does this: {summary}", "{summary} What in {package} does that?"),
        PROMPTED: ("Name a function of {package} for this: {summary}",),
        HELD_OUT: ("Which function in {package} is for this: {summary}",),
    },
}
_FOLLOW_UPS = {
    "does": ("And what does it do?", "What is it for?"),
    "returns": ("And what does it return?", "What do I get back?"),
    "parameters": ("Which arguments does it take?", "And its parameters?"),
    "example": ("Show me an example.", "How is it used?"),
    "module": ("Where do I find it?", "In which module is it?"),
}
_SENTENCE = re.compile(r"^.*?[a-z0-9)\"'][.](?=\s|$)", re.S)
_ODD = re.compile(r"[\\{}`$<>|]|https?:|deprecated|\*\*|::|\[\d+\]_?")


@dataclass(frozen=True)
class Function:
    """A function that is asked about, and what the right answer is for each aspect that its documentation covers."""

    doc: FunctionDoc
    answers: dict[str, str]

    def ask(self, aspect: str, phrasings: str) -> tuple[str, ...]:
        """The question in all phrasings of one sort (TUNED, PROMPTED or HELD_OUT)."""
        return tuple(self.say(phrasing) for phrasing in _PHRASINGS[aspect][phrasings])

    def say(self, form: str) -> str:
        """`form` with the function's names filled in."""
        doc = self.doc
        return form.format(name=doc.name, module=doc.module, package=doc.package, qualified=doc.qualified, summary=doc.summary)


def follow_ups(aspect: str) -> tuple[str, ...]:
    """The question about an aspect once the function has been named."""
    return _FOLLOW_UPS[aspect]


def known_functions(material: Material) -> list[Function]:
    """The functions that every source tells about, in the material's order."""
    return [Function(doc, _answers(doc)) for doc in material.known]


def further_functions(material: Material, count: int) -> list[Function]:
    """Up to `count` other functions with a short summary and a name of their own, chosen by the seed."""
    docs = [doc for part in sorted(material.functions) for doc in material.functions[part]]
    names, summaries = Counter(doc.name for doc in docs), Counter(doc.summary.lower() for doc in docs)
    known = {doc.qualified for doc in material.known}
    suitable = [
        doc
        for doc in docs
        if doc.kind == "function"
        and doc.qualified not in known
        and not inner_works(doc)
        and 24 <= len(doc.summary) <= 110
        and names[doc.name] == summaries[doc.summary.lower()] == 1
        and not _ODD.search(doc.summary)
    ]
    suitable.sort(key=lambda doc: doc.qualified)
    chosen = material.random("further functions").sample(suitable, min(count, len(suitable)))
    return [Function(doc, _answers(doc)) for doc in chosen]


def _answers(doc: FunctionDoc) -> dict[str, str]:
    found = {
        "does": doc.summary,
        "returns": _returned(doc.returns),
        "parameters": _parameters(doc.parameters),
        "example": _example(doc),
        "module": f"{doc.name} is in {doc.module}.",
        "which": f"That is {doc.qualified}.",
    }
    return {aspect: answer for aspect, answer in found.items() if 8 <= len(answer) <= LONGEST_ANSWER}


def _returned(returns: tuple[Field, ...]) -> str:
    """`It returns float: The norm of the vector.`; "" where the documentation does not say it in a sentence."""
    if not returns:
        return ""
    kind, text = _plain(returns[0].type), _first_sentence(_plain(returns[0].text))
    if len(text.split()) < 3 or len(kind) > 30 or _ODD.search(kind + text):
        return ""
    return f"It returns {kind}: {text}" if kind else f"It returns this: {text}"


def _parameters(parameters: tuple[Field, ...]) -> str:
    """`It takes x, ord and axis.`"""
    names = [name.strip(" *`") for field in parameters for name in field.name.split(",")]
    names = [name for name in names if name.isidentifier()]
    if not names:
        return ""
    shown, rest = (names, False) if len(names) <= 5 else (names[:4], True)
    if len(shown) == 1:
        return f"It takes {shown[0]} alone."
    return f"It takes {', '.join(shown)} and more." if rest else f"It takes {', '.join(shown[:-1])} and {shown[-1]}."


def _example(doc: FunctionDoc) -> str:
    """The first line of the examples that calls the function."""
    for line in doc.examples.split("\n"):
        prompt, _, call = line.strip().partition(" ")
        whole = f"{doc.name}(" in call and call.count("(") == call.count(")")
        if prompt == ">>>" and whole and len(call) <= 80 and "import" not in call:
            return f"For example: {call}"
    return ""


def _plain(text: str) -> str:
    return " ".join(inline(text).split())


def _first_sentence(text: str) -> str:
    found = _SENTENCE.match(text)
    sentence = (found[0] if found else text).strip().rstrip(".:;, ")
    return sentence + "." if sentence else ""
