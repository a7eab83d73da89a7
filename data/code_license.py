"""Licences of source code (L1 §2.1: "we only kept projects that are distributed under the Apache, BSD and MIT licenses").

Two questions: which licence is this text, and which lines at the top of a file are a licence notice. Both look for the
sentences licences are made of. Of several licences in one text the first counts: what follows is usually bundled code.
In a file, only comments before the first line of code are looked at, and in them only the paragraphs that are a notice.
"""

import re

SENTENCES = (  # (name, a sentence of it in lower case without punctuation); the earliest in the text decides
    ("apache-2.0", "apache license version 2.0"),
    ("apache-2.0", "apache license 2.0"),
    ("apache-2.0", "www.apache.org licenses license-2.0"),
    ("apache-2.0", "version 2.0 january 2004"),
    ("apache-1.1", "apache software license version 1.1"),
    ("commons-clause", "commons clause license condition"),
    ("json", "shall be used for good not evil"),
    ("mit", "permission is hereby granted free of charge to any person obtaining a copy of this software"),
    ("mit", "opensource.org licenses mit"),
    ("bsd", "redistribution and use in source and binary forms"),
    ("bsd", "use of this source code is governed by a bsd-style license"),
    ("isc", "permission to use copy modify and or distribute this software for any purpose with or without fee"),
    ("isc", "permission to use copy modify and distribute this software for any purpose with or without fee"),
    ("agpl", "gnu affero general public license"),
    ("lgpl", "gnu lesser general public license"),
    ("lgpl", "gnu library general public license"),
    ("gpl", "gnu general public license"),
    ("mpl", "mozilla public license"),
    ("epl", "eclipse public license"),
    ("cddl", "common development and distribution license"),
    ("eupl", "european union public licence"),
    ("boost", "boost software license"),
    ("cc0", "cc0 1.0 universal"),
    ("cc", "creative commons"),
    ("unlicense", "this is free and unencumbered software released into the public domain"),
    ("psf", "python software foundation license"),
    ("psf", "1. this license agreement is between"),
    ("artistic", "the artistic license"),
    ("zlib", "altered source versions must be plainly marked as such"),
    ("wtfpl", "do what the fuck you want to public license"),
    ("ms-pl", "microsoft public license"),
    ("busl", "business source license"),
    ("sspl", "server side public license"),
    ("elastic", "elastic license"),
    ("non-commercial", "for non-commercial"),
    ("non-commercial", "for noncommercial"),
)
_TITLES = (  # used only when no sentence is found: a short notice that names its licence
    ("apache-2.0", "apache 2.0"),
    ("apache-2.0", "apache-2.0"),
    ("apache-2.0", "apache license"),
    ("mit", "mit license"),
    ("mit", "license mit"),
    ("bsd", "bsd license"),
    ("bsd", "bsd-style license"),
    ("bsd-2-clause", "bsd 2-clause"),
    ("bsd-3-clause", "bsd 3-clause"),
    ("bsd-3-clause", "new bsd"),
    ("gpl", "gpl"),
    ("lgpl", "lgpl"),
    ("proprietary", "proprietary"),
    ("proprietary", "confidential"),
)
_FAMILIES = {name.split("-")[0]: name.split("-")[0] for name, _ in SENTENCES if name not in ("non-commercial", "commons-clause")}
_SPDX = re.compile(
    r"spdx-license-identifier:?\s*\(?([a-z0-9][\w.+-]*(?:\s+(?:or|and|with)\s+\(?[a-z0-9][\w.+-]*\)?)*)", re.IGNORECASE
)
_LICENSE_FILE = re.compile(r"(?:(?:UN)?LICEN[CS]E|COPYING)(?:[-_. ]?[A-Za-z0-9.]+)*", re.IGNORECASE)
_OF_OTHERS = re.compile(r"third|3rd|bundled|vendor|font|unicode|\.(?:py|c|h|js|java|go|rb|html?|pyc|so|gz)\Z", re.IGNORECASE)
_READ_CHARACTERS = 60_000


def is_license_file(name: str) -> bool:
    """True for LICENSE, COPYING and their variants (`LICENSE-MIT`, `license.txt`), without those of bundled code."""
    base = name.rsplit("/", 1)[-1]
    return bool(_LICENSE_FILE.fullmatch(base)) and not _OF_OTHERS.search(base)


def detect_license(text: str) -> str | None:
    """`apache-2.0`, `bsd-3-clause`, `bsd-2-clause`, `mit`, `gpl` … of a licence file or notice; None if not recognised."""
    if match := _SPDX.search(text[:2000]):
        return license_name(match[1])
    words = _plain(text[:_READ_CHARACTERS])
    found = [(at, name) for name, sentence in SENTENCES if (at := words.find(sentence)) >= 0]
    if found:
        at, name = min(found, key=lambda pair: pair[0])
        restricted = {"commons-clause", "json", "non-commercial"} & {other for _, other in found}
        return (
            min(restricted)
            if restricted and name in ("mit", "bsd", "apache-2.0")
            else _which_bsd(words[at:])
            if name == "bsd"
            else name
        )
    short = words[:2000]
    return next((name for name, title in _TITLES if re.search(rf"(?<![a-z]){re.escape(title)}(?![a-z])", short)), None)


def license_name(identifier: str) -> str:
    """A licence from a table (`MIT`, `Apache-2.0`, `MIT OR GPL-2.0`) by our names; `other` when it is not known.

    Of alternatives (`OR`) the first permissive one counts, of joined ones (`AND`) the first that is not.
    """
    parts = [_one_name(part) for part in re.split(r"\s+(?:or|and)\s+|/|,|;", identifier.lower().strip("() "))]
    permissive = [part for part in parts if part.startswith(("apache", "bsd", "mit"))]
    restrictive = [part for part in parts if part not in permissive]
    if re.search(r"\sand\s", identifier, re.IGNORECASE):
        return (restrictive or permissive)[0]
    return (permissive or restrictive)[0]


def _one_name(identifier: str) -> str:
    words = re.sub(r"[\s_]+", "-", identifier.strip("() ").split(" with ")[0])
    words = re.sub(r"-(?:only|or-later)\Z|\+\Z", "", words)
    if words.startswith("apache"):
        return "apache-1.1" if "1.1" in words else "apache-2.0"
    if "bsd" in words and not words.startswith("0bsd"):
        clauses = re.search(r"[234]", words)
        return f"bsd-{clauses[0]}-clause" if clauses else "bsd-3-clause" if "new" in words else "bsd"
    if words in ("mit", "mit-license", "the-mit-license", "expat", "x11"):
        return "mit"
    family = words.split("-")[0]
    return _FAMILIES.get(family, "other") if family not in ("mit", "apache", "bsd") else "other"


def _which_bsd(words: str) -> str:
    words = words[:4000]
    if "all advertising materials mentioning features" in words:
        return "bsd-4-clause"
    if "bsd-style license" in words[:80]:
        return "bsd"
    return "bsd-3-clause" if "endorse or promote" in words or "neither the name" in words else "bsd-2-clause"


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9.-]+|[.-]+(?=\s|\Z)", " ", text.lower()).split())
