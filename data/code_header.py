"""The licence notice at the top of a source file, removed (L1 §2.1: "boilerplate, such as headers, removed").

Only comments before the first line of code are looked at, and in them only the paragraphs that are a notice. So a shebang,
`#include`, a Markdown heading and a comment that explains the file stay, which the public reproduction deletes.
"""

import re
from dataclasses import dataclass

_HEAD_CHARACTERS = 20_000
_NOTICE = re.compile(
    r"permission is hereby granted|above copyright notice|provided [\"'`“]*as[ -]is|redistribution and use"
    r"|redistributions? (?:of|in) |neither the name|software is provided|(?:without|no) (?:\w+ )?warrant(?:y|ies)"
    r"|warrant(?:y|ies) (?:of|or)\b|licensed (?:under|to)\b|you may not use this file|you may obtain a copy"
    r"|unless required by applicable law|apache\.org/licenses|opensource\.org/licenses|gnu\.org/licenses|mozilla\.org/mpl"
    r"|is free software|you can redistribute it|hope that it will be useful|should have received a copy"
    r"|general public licen[cs]e|mozilla public licen|source code form is subject|copy of the mpl"
    r"|use of (?:this|the) [^.]{0,40}governed by|governed by (?:a|an|the) [^.]{0,60}licen[cs]e|(?:bsd|mit)[- ]style licen[cs]e"
    r"|(?:released|distributed|available) under (?:the|an?) (?:terms|conditions|[^.]{0,30}licen[cs]e)"
    r"|spdx-license-identifier|(?:mit|apache|bsd|isc|gpl|lgpl) licen[cs]e|licen[cs]e (?:file|terms|agreement)|@licen[cs]e"
    r"|see (?:the )?(?:accompanying )?(?:file )?[\"'`]?(?:licen[cs]e|copying)",
    re.IGNORECASE,
)
_NOTICE_WORDS = ("licen", "copyright", "(c)", "©")  # every notice has one; most files have none
_COPYRIGHT = re.compile(
    r"(?i:copyright)\s*(?:\((?i:c)\)|©|&copy;|:|,|(?i:by\b|holders?\b|notice\b)|[12]\d{3}|[A-Z])|©\s*[12]\d{3}|\((?i:c)\)\s*[12]\d{3}"
    r"|(?i:all rights reserved)|@(?i:copyright)|SPDX-FileCopyrightText"
)
_KEPT_FIRST = re.compile(
    r"#!|\s*\Z|#.*coding[:=]|<\?(?:php|xml)[^>]*(?:\?>)?\s*\Z|<!doctype[^>]*>\s*\Z|[\"']use strict[\"'];?\s*\Z|@echo off\s*\Z"
    r"|#pragma once\s*\Z|#(?:ifndef|define) \w+\s*\Z|#if !\s?defined\b.*\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Syntax:
    lines: tuple[str, ...] = ()
    blocks: tuple[tuple[str, str], ...] = ()


_C = _Syntax(("//", "///", "//!"), (("/*", "*/"),))
_HASH = _Syntax(("#",))
_XML = _Syntax((), (("<!--", "-->"),))
_SYNTAXES = {
    _C: "c h cs cpp hpp c++ h++ cc hh C H go java js ts tsx jsx scala rs kt swift m css",
    _HASH: "rb pl pm perl sh bash command zsh cmake dockerfile Dockerfile Makefile smali",
    _XML: "html xml md markdown",
    _Syntax(("#",), (('"""', '"""'), ("'''", "'''"))): "py",
    _Syntax(("#",), (("<#", "#>"),)): "ps1 psd1 psm1",
    _Syntax(("#",), (("#=", "=#"),)): "jl",
    _Syntax(("//", "#"), (("/*", "*/"),)): "php php3 php4 php5 phps phpt",
    _Syntax(("--",), (("/*", "*/"),)): "sql",
    _Syntax(("--",), (("--[[", "]]"),)): "lua",
    _Syntax(("--",), (("{-", "-}"),)): "hs",
    _Syntax(("%",)): "tex",
    _Syntax(("!", "C ", "c ", "*")): "f90 f f03 f08 f77 f95 for fpp",
    _Syntax((";", "#", "//"), (("/*", "*/"),)): "asm",
    _Syntax(("'",)): "vb",
    _Syntax(("REM ", "rem ", "::")): "bat cmd",
}
_BY_EXTENSION = {extension: syntax for syntax, extensions in _SYNTAXES.items() for extension in extensions.split()}


def remove_license_header(text: str, extension: str) -> tuple[str, str]:
    """(`text` without the licence notices before its first line of code, the notices). `extension` is without its dot."""
    syntax = _BY_EXTENSION.get(extension) or _BY_EXTENSION.get(extension.lower())
    head = text[:_HEAD_CHARACTERS]
    lowered = head.lower()
    if syntax is None or not any(word in lowered for word in _NOTICE_WORDS):
        return text, ""
    lines = head.split("\n")
    if len(head) < len(text):
        lines.pop()  # may be cut in its middle
    kept, removed, index = list[str](), list[str](), 0
    while index < len(lines):
        if _KEPT_FIRST.match(lines[index]) and not (index and lines[index].startswith("#!")):
            kept.append(lines[index])
            index += 1
            continue
        end, opener, closer = _comment_at(lines, index, syntax)
        if end == index:
            break
        left = _without_notice(lines[index:end], opener, closer, removed)
        kept += left
        index = end
        while not left and index < len(lines) and not lines[index].strip() and not (kept and kept[-1].strip()):
            index += 1
    if not removed:
        return text, ""
    start = sum(len(line) + 1 for line in lines[:index])
    left = [*kept, text[start:]] if start <= len(text) else kept  # all comment: the last line has no line end
    return "\n".join(left) if kept else text[start:].lstrip("\n"), "\n".join(removed)


def _comment_at(lines: list[str], index: int, syntax: _Syntax) -> tuple[int, str, str]:
    """(end, opener, closer) of the comment that begins at line `index`; end == index when there is none."""
    first = lines[index].lstrip()
    for opener, closer in syntax.blocks:
        if not first.startswith(opener):
            continue
        after = first[len(opener) :]
        for end in range(index, len(lines)):
            tail = after if end == index else lines[end]
            if closer in tail:
                return (end + 1, opener, closer) if not tail.split(closer, 1)[1].strip() else (index, "", "")
        return index, "", ""
    for prefix in syntax.lines:
        end = index
        while end < len(lines) and _is_comment(lines[end].lstrip(), prefix):
            end += 1
        if end > index:
            return end, prefix.strip(), ""
    return index, "", ""


def _is_comment(line: str, prefix: str) -> bool:
    """Doc comments (`///`, `//!`) are a comment of their own; a bare `C` or `REM` is one too."""
    if prefix == "//":
        return line.startswith("//") and (not line.startswith(("//!", "///")) or not line.strip("/").strip())
    return line.startswith(prefix) or line == prefix.strip()


def _without_notice(block: list[str], opener: str, closer: str, removed: list[str]) -> list[str]:
    """The lines of one comment without its licence paragraphs, which are appended to `removed`."""
    contents = [_content(line, opener, closer) for line in block]
    dropped = set[int]()
    start = 0
    for index in range(len(block) + 1):
        if index == len(block) or not contents[index]:
            dropped |= _notice_lines(contents, start, index)
            start = index + 1
    if not dropped:
        return block
    removed += [contents[index] for index in sorted(dropped)]
    left = [index for index in range(len(block)) if contents[index] and index not in dropped]
    if not left:
        return []
    lines = [block[index] for index in range(left[0], left[-1] + 1) if index not in dropped]
    lines = [line for at, line in enumerate(lines) if _content(line, opener, closer) or _content(lines[at - 1], opener, closer)]
    if closer and left[0] > 0:
        indent = block[0][: len(block[0]) - len(block[0].lstrip())]
        lines.insert(0, block[0] if not contents[0] else indent + opener)
    if closer and left[-1] < len(block) - 1:
        lines.append(block[-1] if not contents[-1] else f" {closer}" if closer == "*/" else closer)
    return lines


def _notice_lines(contents: list[str], start: int, end: int) -> set[int]:
    """Lines of one paragraph that are a notice: from its first licence phrase on; of a bare copyright, those lines alone."""
    rights = {index for index in range(start, end) if _COPYRIGHT.search(contents[index])}
    match = _NOTICE.search(" ".join(contents[start:end]))  # a phrase may go over a line end
    first = None
    if match:
        first, before = start, len(contents[start])
        while before < match.start():
            first += 1
            before += 1 + len(contents[first])
    return rights if first is None else rights | set(range(first, end))


def _content(line: str, opener: str, closer: str) -> str:
    """What a line of a comment says, without delimiters and rulers; empty when it says nothing."""
    line = line.strip().removeprefix(opener).removesuffix(closer).strip("*/#-!;%='\":+~_ \t")
    return line if any(map(str.isalnum, line)) else ""
