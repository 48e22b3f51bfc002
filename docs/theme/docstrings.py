"""An extension of griffe: how the reference reads the docstrings of the package.

- A field of a class may be described by the comment in its line, in place of a docstring below it.
- Roles of Sphinx, which name what a reader may look up, are shown as code.
- Parameters that are described together are shown together.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Docstring, Extension, Object

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([^`]+)`")
COMMENT = re.compile(r"  # (?!noqa|type:)(.+)$")
TOGETHER = re.compile(r"^\w+(?:, \w+)+$", flags=re.MULTILINE)


class Docstrings(Extension):
    """Prepare the docstrings for the reference."""

    def on_attribute_instance(self, *, attr: Attribute, **_: Any) -> None:
        """Take the comment in the line of an attribute as its docstring, where it has none."""
        if attr.docstring is None and attr.lineno and (comment := COMMENT.search(attr.source.splitlines()[-1])):
            text = comment[1].rstrip(".")
            attr.docstring = Docstring(f"{text[0].upper()}{text[1:]}.", lineno=attr.lineno, parent=attr)

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Show roles as code, and parameters together."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            # griffe separates names at a comma and a space, and gives all of them the type of the first
            obj.docstring.value = TOGETHER.sub(lambda names: names[0].replace(", ", ",\N{NO-BREAK SPACE}"), text)
