"""HTML and SVG as nested calls, escaped by construction.

`tag` escapes every child and attribute that is not already `Markup`, so a document's text, however hostile, can
only ever be shown. Characters that draw nothing or turn the direction of writing are shown as visible signs.
"""

import html
import re
from typing import Any

_VOID = {"meta", "br", "col", "wbr"}
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


def escaped(value: Any) -> Markup:
    """`value` as HTML text; Markup passes, None is empty."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_INVISIBLE.sub("\ufffd", "" if value is None else str(value)), quote=True))


def join(*children: Any) -> Markup:
    """Children one after another; iterables are flattened."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, list | tuple) or hasattr(child, "__next__"):
            parts.append(join(*child))
        else:
            parts.append(escaped(child))
    return Markup("".join(parts))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """`<name attributes>children</name>`; `class_` is class, `stroke_width` is stroke-width, None leaves out, True is bare."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {key}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {key}="{escaped(value)}"'
