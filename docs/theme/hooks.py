"""Hooks of mkdocs: what stands in the repository, outside docs/, has a place in the site too.

README.md is the first page of the site, CONTRIBUTING.md and CHANGELOG.md are pages, and other files that a page links
to are copied into the folder ``files``.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", flags=re.MULTILINE | re.DOTALL)

CELL = re.compile(r"<td[ >].*?</td>", flags=re.DOTALL)
NAME = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
JOINT = re.compile(r"::|[/_.=(](?=\w)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the files that pages link to."""
    root = Path(config.config_file_path).parent
    texts = {f"docs/{page.src_uri}": page.content_string for page in files.documentation_pages()}
    for source, page in PAGES.items():
        texts[source] = (root / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=texts[source]))
    for source, text in texts.items():
        for _, link, _ in LINK.findall(CODE.sub("", text)):
            target = _resolve(source, link)
            if not target.startswith("docs/") and target not in PAGES and (root / target).is_file():
                place = f"files/{target}"
                if files.get_file_from_path(place) is None:
                    files.append(File.generated(config, place, content=(root / target).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to their places in the site."""
    del config, files
    sources = {page: source for source, page in PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    folder = posixpath.dirname(page.file.src_uri)

    def rewrite(match: re.Match[str]) -> str:
        target = _resolve(source, match[2])
        place = PAGES.get(target, target.removeprefix("docs/") if target.startswith("docs/") else f"files/{target}")
        return match[1] + posixpath.relpath(place, folder or ".") + match[3]

    parts = CODE.split(markdown)  # every second one is code
    return "".join(part if n % 2 else LINK.sub(rewrite, part) for n, part in enumerate(parts))


def on_page_content(html: str, **_: Any) -> str:
    """Let names in cells of tables break where they have parts, and nowhere else."""
    return CELL.sub(lambda cell: NAME.sub(lambda name: JOINT.sub(r"\g<0><wbr>", name[0]), cell[0]), html)


def _resolve(source: str, link: str) -> str:
    """Return the path in the repository that a link of one of its files leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
