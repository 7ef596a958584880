"""Reading a public list of papers: what of it is here, what is new, what the list has wrong.

Lists are Markdown in every shape: bullets, numbers, tables, badges, HTML. They are rendered
and read as HTML, so that one reader sees them all, with the line that each item stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt

from catalog.adding.identifiers import FIELDS, Identifier, of_address
from catalog.adding.known import Paper, by_id, by_title, normal
from catalog.errors import is_unsafe, shown
from catalog.store import Catalog

MAX_BYTES = 4 * 1024 * 1024
"""Size above which a list is refused."""

_LABEL_WORDS = """
paper pdf arxiv link links code github page project url doi openreview website web blog abs
html slides video poster review reviews anthology acl demo model models official pytorch
author publish star type homepage here huggingface hf site tensorflow unofficial released
preprint supp appendix bib bibtex repo dataset data the of and
"""
_LABELS = frozenset(_LABEL_WORDS.split())
_URL = re.compile(r"https?://[^\s<>\"'`\\|)\]]+")
_STALE = re.compile(
    r"(?:(?:pub(?:lication|lished)?|venue|conference)\s*[:\-]?\s*)?"
    r"(?:arxiv(?:\.org)?(?:\s*preprint)?|preprint)\s*[,']?\s*(?:(?:20)?[0-9]{2})?",
    re.IGNORECASE,
)


@dataclass
class Block:
    """A list item, table row or paragraph, with its own content and the blocks inside it."""

    tag: str
    line: int
    texts: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    emphasised: list[str] = field(default_factory=list)
    children: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Item:
    """One paper as a list names it."""

    line: int
    title: str | None
    ids: list[Identifier]
    names: list[str] = field(default_factory=list)
    """Everything in the item that may be its title"""
    arxiv_as_venue: bool = False
    empty_link: bool = False


@dataclass(frozen=True)
class Fault:
    """Something that is wrong in the list itself."""

    line: int
    code: str
    message: str


@dataclass
class Reading:
    """What a list comes to, compared with the catalog."""

    here: list[tuple[Item, str]] = field(default_factory=list)
    new: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, for JSON."""
        return {
            "here": [
                {"line": item.line, "title": item.title, "key": key} for item, key in self.here
            ],
            "new": [
                {
                    "line": item.line,
                    "title": item.title,
                    "ids": {each.field: each.value for each in item.ids},
                    "command": command(item),
                }
                for item in self.new
            ],
            "wrong": [vars(fault) for fault in self.faults],
        }


def command(item: Item) -> str | None:
    """The command that adds the paper; None where the list gives nothing to fetch it by."""
    for name in ("arxiv", "acl", "openreview", "doi"):
        for each in item.ids:
            if each.field == name and each.flaw is None:
                value = each.value
                if name == "openreview":
                    value = f"'https://openreview.net/forum?id={value}'"
                elif not re.fullmatch(r"[\w./-]+", value):
                    value = "'" + value.replace("'", "'\\''") + "'"
                return f"prunedex add {value}"
    return None


# Markdown as blocks ------------------------------------------------------------------------


class _Reader(HTMLParser):
    """HTML with `data-line` marks as a tree of blocks."""

    _BLOCKS = ("li", "tr", "p")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Block("root", 1)
        self._open = [self.root]
        self._base = (1, 1)
        self._link: tuple[str, list[str]] | None = None
        self._strong: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        here = self.getpos()[0]
        if given.get("data-line", "").isdecimal():
            self._base = (int(given["data-line"]), here)
        line = self._base[0] + here - self._base[1]
        if tag in self._BLOCKS:
            if tag == "p" and self._open[-1].tag in ("li", "tr"):
                self._break()  # a loose list: the paragraph belongs to its item
                return
            if tag == "tr" or (tag == "p" and self._open[-1].tag == "p"):
                self._close_to(tag)
            block = Block(tag, line)
            self._open[-1].children.append(block)
            self._open.append(block)
        elif tag == "a":
            self._end_link()
            self._link = (given.get("href", "").strip(), [])
        elif tag == "img":
            self._open[-1].images.append(given.get("src", ""))
        elif tag in ("strong", "b", "em", "i"):
            self._strong.append([])
        elif tag in ("br", "td", "th", "ul", "ol", "div", "table"):
            self._break()

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._end_link()
        elif tag in ("strong", "b", "em", "i") and self._strong:
            self._open[-1].emphasised.append("".join(self._strong.pop()))
        elif tag in ("li", "tr") or (tag == "p" and self._open[-1].tag == "p"):
            self._close_to(tag)

    def handle_data(self, data: str) -> None:
        for words in self._strong:
            words.append(data)
        if self._link is not None:
            self._link[1].append(data)
            return
        texts = self._open[-1].texts
        if texts:
            texts[-1] += data
        else:
            texts.append(data)

    def _break(self) -> None:
        self._open[-1].texts.append("")

    def _end_link(self) -> None:
        if self._link is not None:
            url, words = self._link
            self._link = None
            self._open[-1].links.append((" ".join("".join(words).split()), url))
            self._break()

    def _close_to(self, tag: str) -> None:
        self._end_link()
        self._strong.clear()
        names = [block.tag for block in self._open]
        if tag in names:
            del self._open[len(names) - 1 - names[::-1].index(tag) :]


def _blocks(text: str) -> Block:
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = markdown.parse(text)
    for token in tokens:
        if token.map and token.type in ("list_item_open", "tr_open", "paragraph_open"):
            token.attrSet("data-line", str(token.map[0] + 1))
        elif token.map and token.type == "html_block":
            token.content = f'<span data-line="{token.map[0] + 1}"></span>{token.content}'
    reader = _Reader()
    reader.feed(markdown.renderer.render(tokens, markdown.options, {}))
    reader.close()
    return reader.root


# Blocks as items ---------------------------------------------------------------------------


def read_items(text: str) -> list[Item]:
    """Every item of a list that names a paper, in the order of the file."""
    cleaned = "".join(" " if is_unsafe(c) and c not in "\n\t" else c for c in text)
    return list(_items(_blocks(cleaned)))


def _items(block: Block) -> Iterator[Item]:
    for child in block.children:
        own = _ids(child)
        below = [each for inner in _below(child) for each in _ids(inner)]
        if child.tag == "li" and not _several([*own, *below]):
            # One paper, be it spread over a list of its own: title above, links below.
            yield from _item([child, *_below(child)])
        else:
            yield from _item([child])
            yield from _items(child)


def _below(block: Block) -> list[Block]:
    return [each for child in block.children for each in (child, *_below(child))]


def _ids(block: Block) -> list[Identifier]:
    """The papers that a block's addresses mean, each once."""
    urls = [url for _, url in block.links]
    urls += [found.rstrip(".,;") for text in block.texts for found in _URL.findall(text)]
    found = (of_address(url) for url in urls)
    return list(dict.fromkeys(each for each in found if each is not None))


def _several(ids: Sequence[Identifier]) -> bool:
    """Whether there are two papers: two identifiers of one kind."""
    return any(len({each.value for each in ids if each.field == name}) > 1 for name in FIELDS)


def _item(blocks: list[Block]) -> Iterator[Item]:
    """The papers that blocks name together: one, or one a link."""
    line = blocks[0].line
    links = [link for block in blocks for link in block.links]
    ids = list(dict.fromkeys(each for block in blocks for each in _ids(block)))
    empty = any(text and not url for text, url in links)
    if _several(ids):
        for text, url in links:
            found = of_address(url)
            if found is not None:
                title = _tidy(text) if _is_telling(text) else None
                yield Item(line, title, [found], [title] if title else [])
        return
    names = _names(blocks, links)
    if not ids and not (names and (empty or _paper_like(links))):
        return
    yield Item(
        line=line,
        title=names[0] if names else None,
        ids=ids,
        names=names,
        arxiv_as_venue=_says_arxiv(blocks),
        empty_link=empty,
    )


def _paper_like(links: Iterable[tuple[str, str]]) -> bool:
    """Whether a link without a known identifier calls itself the paper."""
    return any(
        url.startswith("http") and re.fullmatch(r"\W*(paper|pdf|arxiv)\W*", text, re.IGNORECASE)
        for text, url in links
    )


def _names(blocks: list[Block], links: list[tuple[str, str]]) -> list[str]:
    """What may be the title, the likeliest first."""
    to_paper = [text for text, url in links if of_address(url) is not None]
    others = [text for text, url in links if of_address(url) is None]
    emphasised = [text for text in blocks[0].emphasised if not _STALE.fullmatch(text.strip())]
    first = [part for text in blocks[0].texts for part in _segments(text)]
    candidates = [*to_paper, *emphasised, *first, *others]
    if first and not any(map(_is_telling, to_paper)) and not _begins(first[0], emphasised):
        candidates = [first[0], *candidates]
    tidy = (_tidy(text) for text in candidates if _is_telling(text))
    return list(dict.fromkeys(text for text in tidy if text))


def _begins(text: str, emphasised: list[str]) -> bool:
    """Whether the text starts with what is emphasised: a title, followed by a venue, say."""
    start = _tidy(text)
    return any(_is_telling(each) and start.startswith(_tidy(each)) for each in emphasised)


def _segments(text: str) -> list[str]:
    without = _URL.sub(" ", text)
    return [part for part in re.split(r"\n|\||·|\[|\]|\s{3,}", without) if part.strip()]


def _tidy(text: str) -> str:
    text = re.sub(r"^\s*(?:[0-9]+[.)]\s*|[-*•]\s*)?", "", " ".join(text.split()))
    text = re.sub(r"\s*\((?:19|20)[0-9]{2}[^)]*\)\s*$", "", text)
    text = text.strip(" \"'“”*_.,:;|-")
    for one, other in ("()", ")("):
        # A bracket that nothing opens or closes is a rest of something else.
        if text.count(one) != text.count(other):
            text = text.strip(one + " ")
    return text[:300]


def _is_telling(text: str) -> bool:
    """Whether text may be a title, rather than a label such as 'paper' or an identifier."""
    words = re.findall(r"[^\W\d_]{2,}", text)
    return len(words) >= 2 and any(word.lower() not in _LABELS for word in words)


def _says_arxiv(blocks: list[Block]) -> bool:
    """Whether the item gives arXiv as the place where the paper appeared."""
    for block in blocks:
        for text in [*block.texts, *block.emphasised]:
            for part in re.split(r"[\n|()\[\],;·]|(?<=[.!?])\s", _URL.sub(" ", text)):
                if _STALE.fullmatch(part.strip(" *_.:-\"'`")) and part.strip(" *_.:-\"'`"):
                    return True
        for image in block.images:
            if re.search(r"badge/(conference|publish|venue|pub)-arxiv", image, re.IGNORECASE):
                return True
    return False


# Items against the catalog -----------------------------------------------------------------


def compare(catalog: Catalog, known: list[Paper], items: Sequence[Item]) -> Reading:
    """Which items are here and which are new, and what the list has wrong."""
    reading = Reading()
    seen_ids: dict[Identifier, Item] = {}
    seen_titles: dict[str, Item] = {}
    for item in items:
        broken = [each for each in item.ids if each.flaw is not None]
        for each in broken:
            message = f"{shown(each.value)} leads nowhere: {each.flaw}"
            reading.faults.append(Fault(item.line, "dead-link", message))
        if item.empty_link:
            reading.faults.append(Fault(item.line, "dead-link", "a link has no address"))
        good = [each for each in item.ids if each.flaw is None]
        title = normal(item.title) if item.title else ""
        earlier = seen_titles.get(title) if title else None
        twin = next((seen_ids[each] for each in good if each in seen_ids), None)
        if earlier is None and twin is not None:
            if _alike(item, twin):
                earlier = twin
            elif not any(by_id(known, each.field, each.value) for each in good):
                message = f"has the identifier of line {twin.line}, {shown(twin.title, 100)}"
                reading.faults.append(Fault(item.line, "wrong-id", message))
                continue
        for each in good:
            seen_ids.setdefault(each, item)
        if title:
            seen_titles.setdefault(title, item)
        if earlier is not None:
            what = shown(item.title or good[0].value, 100)
            message = f"{what} is already in line {earlier.line}"
            reading.faults.append(Fault(item.line, "duplicate", message))
            continue
        paper = _place(known, item, good, reading)
        if paper is None:
            reading.new.append(item)
            continue
        reading.here.append((item, paper.key))
        entry = catalog.entries.get(paper.key)
        if item.arxiv_as_venue and entry is not None and entry.venue.type != "preprint":
            message = f"gives arXiv, but {paper.key} appeared in {entry.venue.short}"
            reading.faults.append(Fault(item.line, "stale-venue", message))
    return reading


def _alike(item: Item, other: Item) -> bool:
    """Whether two items may name one paper: also where one of them names no title."""
    if item.title is None or other.title is None:
        return True
    words, own = set(normal(item.title).split()), set(normal(other.title).split())
    return 2 * len(words & own) >= min(len(words), len(own))


def _place(
    known: list[Paper], item: Item, ids: Sequence[Identifier], reading: Reading
) -> Paper | None:
    """The paper of the catalog that an item means, with a fault where id and title disagree."""
    meant = next((p for each in ids if (p := by_id(known, each.field, each.value))), None)
    exact = {normal(paper.title): paper for paper in known if paper.title}
    named = next((exact[n] for name in item.names if (n := normal(name)) in exact), None)
    if named is None and item.title and meant is None:
        match = by_title(known, item.title)
        named = match.paper if match is not None else None
    if meant is None or item.title is None or named is meant:
        return meant or named
    if named is not None or not any(_resemble(name, meant) for name in item.names):
        identifier = next(each for each in ids if by_id([meant], each.field, each.value))
        title = named.title if named is not None else item.title
        other = f" ({named.key})" if named is not None else ""
        message = (
            f"{identifier.field} {identifier.value} is {meant.key}, {shown(meant.title, 80)}, "
            f"not {shown(title, 80)}{other}"
        )
        reading.faults.append(Fault(item.line, "wrong-id", message))
        return named
    return meant


def _resemble(name: str, paper: Paper) -> bool:
    """Whether a name may stand for a paper: half of the words, or its method's name."""
    words, own = set(normal(name).split()), set(normal(paper.title).split())
    if paper.name and normal(paper.name) in normal(name):
        return True
    return 2 * len(words & own) >= min(len(words), len(own))
