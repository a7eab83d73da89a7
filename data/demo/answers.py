"""Answers of different quality to a question about a function, and a rater who prefers one of two (L2 §3.2.1).

Every answer comes in several lengths, whatever its quality, and of two answers the longer one is the better one half of
the time: what a reward model learns cannot be length.
"""

from random import Random

from data.demo.adversarial import needless_refusals
from data.demo.questions import Function
from data.preferences import RATINGS

# What a rater likes about an answer to a question, and how often one meets it.
QUALITIES = {
    "complete": (3.0, 0.38),
    "truncated": (2.0, 0.16),
    "beside": (1.5, 0.09),  # answers another question about the function: true, though not asked
    "drifting": (1.3, 0.04),  # begins right and goes on about something else
    "vague": (0.9, 0.15),
    "elsewhere": (0.5, 0.08),  # is about another function
    "refusal": (0.4, 0.04),
    "looping": (0.0, 0.06),
}
RATER_NOISE = 0.2  # standard deviation of a rater's opinion of one answer
_GAPS = (1.9, 1.1, 0.5)  # least difference of opinion for each rating but the last
_OPENINGS = (
    "",
    "",
    "{name}: ",
    "About {qualified}: ",
    "Here is what I know about {name}. ",
    "You ask about {qualified}, so here is the answer. ",
    "Here is what the documentation says about {name} in {module}: ",
)
_VAGUE = (
    "It is a function.",
    "It does something with its arguments.",
    "It is useful in many programs.",
    "It depends on what you want to do and on the arguments that you have.",
    "There are many functions in {package}, and this is one of those that people use now and then.",
    "It can do different things, some of them simple and some of them less so, and the details are in the documentation.",
)


def helpful_answers(function: Function, aspect: str, quality: str, others: list[Function], random: Random) -> list[str]:
    """Answers of one of the QUALITIES in several lengths; `others` are the functions that a wrong one may speak about."""
    if quality == "refusal":
        return list(needless_refusals())
    if quality == "vague":
        return [function.say(opening + form) for form in _VAGUE for opening in dict.fromkeys(_OPENINGS)]
    named, text = function, function.answers[aspect]
    if quality == "truncated":
        text = _cut(text, random.uniform(0.35, 0.75))
    elif quality == "looping":
        text = " ".join(text.split()[: random.randint(2, 4)] * random.randint(2, 4)).rstrip(".,;:")
    elif quality == "beside":
        text = random.choice([answer for name, answer in function.answers.items() if name not in (aspect, "which")])
    elif quality in ("drifting", "elsewhere"):
        another, wrong = _of_another(function, aspect, others, random)
        if quality == "elsewhere":
            named, text = another if random.random() < 0.5 else function, wrong
        else:
            words = wrong.split()
            text = f"{_cut(text, 0.5)} {' '.join(words[len(words) // 2 :])}"
    return [named.say(opening) + text for opening in dict.fromkeys(_OPENINGS)]


def draw_quality(random: Random, other_than: str = "") -> str:
    """One of QUALITIES by its weight."""
    names = [name for name in QUALITIES if name != other_than]
    return random.choices(names, [QUALITIES[name][1] for name in names])[0]


def choose_pair(first: list[str], second: list[str], random: Random) -> tuple[str, str] | None:
    """One text of each list, the first one longer half of the time where the lists allow; None if only equal ones are left."""
    longer = random.random() < 0.5
    pairs = [(one, two) for one in first for two in second if one != two]
    wanted = [pair for pair in pairs if len(pair[0]) != len(pair[1]) and (len(pair[0]) > len(pair[1])) == longer]
    return random.choice(wanted or pairs) if pairs else None


def rate(first: float, second: float, random: Random) -> tuple[bool, str]:
    """(whether the first is preferred, the rating) of a rater who sees two answers of these qualities."""
    gap = first - second + random.gauss(0, RATER_NOISE) - random.gauss(0, RATER_NOISE)
    rating = next((rating for rating, least in zip(RATINGS, _GAPS) if abs(gap) >= least), RATINGS[-1])
    return gap >= 0, rating


def _cut(text: str, share: float) -> str:
    """The first words of a text, at least one and never all."""
    words = text.split()
    return " ".join(words[: max(1, min(len(words) - 1, round(len(words) * share)))]).rstrip(".,;:")


def _of_another(function: Function, aspect: str, others: list[Function], random: Random) -> tuple[Function, str]:
    """Another function and one of its answers, two times in three not even to the question that was asked."""
    another = function
    while another is function:
        another = random.choice(others)
    same_aspect = aspect in another.answers and random.random() < 1 / 3
    besides = [answer for name, answer in another.answers.items() if name not in (aspect, "which")]
    return another, another.answers[aspect] if same_aspect else random.choice(besides)
