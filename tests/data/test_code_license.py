"""Licences are told by their sentences; what is not permissive is never taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.code_license import detect_license, is_license_file, license_name

MIT = """The MIT License (MIT)

Copyright (c) 2020 A

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, subject to the following conditions:

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND.
"""
BSD2 = """Copyright 2020 B. All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice.
2. Redistributions in binary form must reproduce the above copyright notice.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS "AS IS".
"""
BSD3 = BSD2.replace(
    "\nTHIS", "3. Neither the name of B nor the names of its\n   contributors may be used to endorse or promote products.\n\nTHIS"
)
BSD4 = BSD3.replace(
    "3. N", "3. All advertising materials mentioning features or use of this software must\n   display an acknowledgement.\n4. N"
)
APACHE = "                                 Apache License\n                           Version 2.0, January 2004\n"
GPL = (
    "GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n ... use the GNU Lesser General Public License instead of this License."
)
LGPL = "GNU LESSER GENERAL PUBLIC LICENSE\n ... the terms of version 3 of the GNU General Public License"
AGPL = "GNU AFFERO GENERAL PUBLIC LICENSE\n ... GNU General Public License"
ISC = "ISC License\n\nPermission to use, copy, modify, and/or distribute this software for any\npurpose with or without fee"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (MIT, "mit"), (BSD2, "bsd-2-clause"), (BSD3, "bsd-3-clause"), (BSD4, "bsd-4-clause"), (APACHE, "apache-2.0"),
        (GPL, "gpl"), (LGPL, "lgpl"), (AGPL, "agpl"), (ISC, "isc"), ("Mozilla Public License Version 2.0", "mpl"),
        ("Creative Commons BY 4.0", "cc"),
        ("SPDX-License-Identifier: GPL-2.0-only", "gpl"), ("# SPDX-License-Identifier: (MIT OR Apache-2.0)", "mit"),
        ("Released under the MIT license.", "mit"), ("All rights reserved. Proprietary and confidential.", "proprietary"),
        (MIT + "\nThe Software shall be used for Good, not Evil.", "json"), (MIT + GPL, "mit"), (GPL + MIT, "gpl"),
        ("Licensed under the Apache License 2.0 with the Commons Clause License Condition v1.0", "commons-clause"),
        (BSD3.upper().replace("\n", "\r\n * "), "bsd-3-clause"), ("", None), ("Dear reader, this limits nothing.", None),
    ],
)  # fmt: skip
def test_detected_by_content(text: str, name: str | None) -> None:
    assert detect_license(text) == name


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("MIT", "mit"), ("mit license", "mit"), ("Apache-2.0", "apache-2.0"), ("Apache License 2.0", "apache-2.0"),
        ("BSD-3-Clause", "bsd-3-clause"), ("BSD 2-Clause \"Simplified\"", "bsd-2-clause"), ("MIT OR GPL-2.0", "mit"),
        ("MIT AND GPL-3.0-or-later", "gpl"), ("(MIT/Apache-2.0)", "mit"), ("GPL-3.0+", "gpl"), ("LGPL-2.1", "lgpl"),
        ("0BSD", "other"), ("isc", "isc"), ("", "other"), ("mit-but-not-really", "other"),
    ],
)  # fmt: skip
def test_stated_names_and_expressions(stated: str, name: str) -> None:
    assert license_name(stated) == name


def test_licence_files_by_name() -> None:
    yes = ["LICENSE", "a/LICENSE.txt", "LICENCE.md", "COPYING.LESSER", "LICENSE-MIT", "license_apache", "UNLICENSE"]
    no = ["license.py", "LICENSES_bundled.txt", "LICENSE.thirdparty", "licenses/MIT.txt", "README", "licensing.c", "COPYING.pyc"]
    assert [name for name in yes + no if is_license_file(name)] == yes


@given(st.text(max_size=300))
def test_no_text_makes_it_raise(text: str) -> None:
    detect_license(text)
    license_name(text)
