"""What mkdocs is helped with: formulas without a network, and links to files that are no pages of the site.

The pages are also read on a code host, so that they link to files of the repository by ``../``; the site has no such
files. There, a link becomes the file's path, in words; one to a file that does not exist ends the build.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[2]
_TO_FILE = re.compile(r"\[([^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\(\.\./([^)#\s]+)(?:#[^)\s]*)?\)")
_INLINE = re.compile(r"\$`([^`\n]+)`\$")
_ROW, _CODE = re.compile(r"^\|.*$", re.MULTILINE), re.compile(r"`[^`\n]+`")  # in code, mkdocs wants | unescaped
_FENCE = re.compile(r"^[ ]*(```|~~~).*?^[ ]*\1[ \t]*$", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Have ```` ```math ```` come out as MathML, which browsers draw themselves."""
    fence = {"name": "math", "class": "math", "format": formula}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def formula(source: str, *_: Any, **__: Any) -> str:
    """A displayed formula of LaTeX's as MathML."""
    return f'<div class="formula">{convert(source.strip(), display="block")}</div>'


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Formulas between words as MathML, and files of the repository by their paths."""
    parts, start = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_prose(markdown[start : fence.start()], page.file.src_path), fence.group()]
        start = fence.end()
    return "".join([*parts, _prose(markdown[start:], page.file.src_path)])


def _between_words(source: re.Match[str]) -> str:
    """In a span, since Markdown takes a line that begins with MathML for a block."""
    return f"<span>{convert(source[1])}</span>"


def _prose(text: str, page: str) -> str:
    def path(link: re.Match[str]) -> str:
        words, target = link.groups()
        if not (ROOT / target).exists():
            raise FileNotFoundError(f"docs/{page} links to ../{target}, which is not there")
        name = f"<code>{html.escape(target)}</code>"
        return name if words.strip("`") in target else f"{words} ({name})"

    text = _ROW.sub(lambda row: _CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), text)
    return _INLINE.sub(_between_words, _TO_FILE.sub(path, text))
