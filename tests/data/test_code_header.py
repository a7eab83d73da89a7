"""Licence notices at the top of files go; everything the public reproduction deletes with them stays."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.code_header import remove_license_header

APACHE = (
    'Licensed under the Apache License, Version 2.0 (the "License");\nyou may not use this file except in compliance.\n'
    "You may obtain a copy of the License at\n\n    http://www.apache.org/licenses/LICENSE-2.0\n\n"
    'Unless required by applicable law, software is distributed\non an "AS IS" BASIS.'
)


def commented(text: str, prefix: str) -> str:
    return "".join(f"{prefix} {line}".rstrip() + "\n" for line in text.split("\n"))


@pytest.mark.parametrize(
    ("extension", "text"),
    [
        ("c", "#include <stdio.h>\n#define X\nint x;\n"),
        ("sh", "#!/bin/sh\n# builds it\necho\n"),
        ("md", "# Title\n\nCopyright 2020 A, licensed under the MIT License.\n"),
        ("java", "/** Parses copyright strings and licences. */\nclass A {}\n"),
        ("py", '"""Checks the license of a file."""\nimport x\n'),
        ("py", "import x\n# Copyright 2020 A\n"),
        ("c", "int x; /* Copyright 2020 A */\n"),
        ("c", "/* unclosed Copyright 2020 A\nint x;\n"),
        ("rs", "//! Crate docs\n\n/// Of a thing.\nfn main() {}\n"),
        ("json", "// Copyright 2020 A\n"),
    ],
)
def test_what_is_no_notice_stays(extension: str, text: str) -> None:
    assert remove_license_header(text, extension) == (text, "")


@pytest.mark.parametrize(
    ("extension", "text", "expected"),
    [
        ("py", "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# Copyright 2020 A\n" + commented(APACHE, "#") + "\nimport x\n",
         "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\nimport x\n"),
        ("py", commented("Copyright 2020 A\n\n" + APACHE, "#") + '\n"""Doc."""\n', '"""Doc."""\n'),
        ("go", commented(APACHE, "//") + "\n// Package x does y.\npackage x\n", "// Package x does y.\npackage x\n"),
        ("go", "// Copyright 2009 The Go Authors. All rights reserved.\n// Use of this source code is governed by a BSD-style\n"
               "// license that can be found in the LICENSE file.\n\npackage x\n", "package x\n"),
        ("c", "/* doc */\n/* Copyright (c) 2010 A */\nint x;\n", "/* doc */\nint x;\n"),
        ("c", "/*\n * foo.c - the driver\n *\n * Copyright (C) 2010 A\n *\n * This program is free software; you can\n"
              " * redistribute it under the GNU General Public License.\n */\n#include <a.h>\n",
         "/*\n * foo.c - the driver\n */\n#include <a.h>\n"),
        ("c", "/* Copyright (c) 2010 A\n *\n * What this does. */\nint x;\n", "/*\n * What this does. */\nint x;\n"),
        ("js", "/*! lib v3 | (c) 2020 A | MIT license */\nf();\n", "f();\n"),
        ("py", '"""Module doc.\n\nCopyright 2020 A. All rights reserved.\n"""\nx = 1\n', '"""Module doc.\n"""\nx = 1\n'),
        ("rb", "# frozen_string_literal: true\n# Copyright 2020 A\n\nx\n", "# frozen_string_literal: true\n\nx\n"),
        ("rs", "// Copyright 2020 A\n// This module does X.\n/// Doc.\nfn f() {}\n",
         "// This module does X.\n/// Doc.\nfn f() {}\n"),
        ("html", "<!DOCTYPE html>\n<!--\nCopyright 2020 A\nLicensed under the MIT license\n-->\n<html>\n",
         "<!DOCTYPE html>\n<html>\n"),
        ("sql", "-- Copyright 2020 A\n-- Licensed under the MIT License\n\nSELECT 1;\n", "SELECT 1;\n"),
        ("f", "C Copyright 1990 A\nC\nC     computes x\n      CALL F\n", "C     computes x\n      CALL F\n"),
        ("Makefile", "# SPDX-License-Identifier: MIT\nall:\n", "all:\n"),
        ("h", "#ifndef X_H\n#define X_H\n\n// Copyright 2020 A\n// Licensed under the MIT License\n\n// Doc.\nint x();\n",
         "#ifndef X_H\n#define X_H\n\n// Doc.\nint x();\n"),
        ("hpp", "#pragma once\n// Copyright 2020 A\nint x();\n", "#pragma once\nint x();\n"),
    ],
)  # fmt: skip
def test_notices_go_and_explanations_stay(extension: str, text: str, expected: str) -> None:
    cleaned, notice = remove_license_header(text, extension)
    assert cleaned == expected and notice
    assert remove_license_header(cleaned, extension) == (cleaned, "")


PIECES = [
    "/*",
    "*/",
    "//",
    "#",
    "#!",
    "\n",
    " ",
    "Copyright 2020 A",
    "licensed under",
    "code();",
    "/**",
    '"""',
    "<!--",
    "-->",
    "é",
    "(c)",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.sampled_from(["c", "py", "html", "md", "f", "lua", "bat", "zzz"]),
)
def test_no_text_makes_it_raise_and_code_is_never_touched(text: str, extension: str) -> None:
    cleaned, _ = remove_license_header(text + "\ncode_line();\n\nmore\n", extension)
    assert cleaned.endswith("code_line();\n\nmore\n") or "code_line" in cleaned


@pytest.mark.parametrize("unit", ["/* copyright\n", "# (c)\n", "/*(c)*/\n", "licen ", "(c)", "#coding", '"""(c)', "Copyright "])
def test_time_is_bounded_on_hostile_input(unit: str) -> None:
    start = time.process_time()
    for extension in ("c", "py", "html"):
        remove_license_header(unit * (1_000_000 // len(unit)), extension)
    assert time.process_time() - start < 2
