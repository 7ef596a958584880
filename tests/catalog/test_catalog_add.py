"""`prunedex add`: good records, records already here, and services and records of every bad kind."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import services as local
from sample import snapshot
from services import Answer, Services, arxiv_feed

from catalog.adding import web
from catalog.adding.draft import make_key, method_name
from catalog.adding.record import Record, VenueGuess
from catalog.adding.rules import propose_tags, rules
from catalog.reader import parse_yaml
from catalog.schema import Entry
from catalog.store import Catalog

Run = Callable[..., tuple[int, str, str]]
QUERY = "/api/query"
ATOM = "application/atom+xml; charset=UTF-8"


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    with local.serve() as running:
        monkeypatch.setattr(web, "SERVICES", dict.fromkeys(web.SERVICES, running.url))
        monkeypatch.setattr(web, "CONNECT_SECONDS", 0.4)
        monkeypatch.setattr(web, "TOTAL_SECONDS", 1.0)
        yield running


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have waited, instead of waiting."""
    found: list[float] = []
    monkeypatch.setattr("time.sleep", found.append)
    monkeypatch.setattr(web.get, "__defaults__", (found.append,))
    return found


@pytest.fixture
def run(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command inside of the sample catalog."""
    monkeypatch.chdir(root)
    return run


def entry_of(root: Path, key: str) -> dict[str, Any]:
    located, problems = parse_yaml(key, (root / f"papers/{key}.yaml").read_text("utf-8"))
    assert located is not None
    assert not problems
    assert isinstance(located.data, dict)
    return located.data


# good records ------------------------------------------------------------------------------


def test_arxiv(run: Run, root: Path, services: Services) -> None:
    services.on(QUERY, Answer(arxiv_feed(), media_type=ATOM))
    status, out, _ = run("add", "https://arxiv.org/pdf/2402.12345v2.pdf")
    assert status == 0
    assert "papers/vanderberg2024sparsetoy.yaml" in out
    assert "prunedex check papers/vanderberg2024sparsetoy.yaml" in out
    data = entry_of(root, "vanderberg2024sparsetoy")
    assert data["title"] == "SparseToy: One-Shot 2:4 Pruning of Toy Models"
    assert data["authors"] == ["Zoë van der Berg", "Bo Second"]
    assert data["ids"] == {"arxiv": "2402.12345", "arxiv_class": "cs.LG"}
    assert data["venue"]["type"] == "preprint"
    assert data["links"]["code"]["repository"] == "toys/sparse-toy"
    assert data["tags"]["retraining"] == ["without"]
    text = (root / "papers/vanderberg2024sparsetoy.yaml").read_text("utf-8")
    assert "Accepted at ICML 2024" in text  # where a person has to decide
    for sentence in re.split(r"(?<=\.)\s", local.ABSTRACT):
        assert sentence.rstrip(".")[:40] not in text
    # Every mark is one that the check names.
    status, out, _ = run("check", "papers", "--json")
    assert status == 1
    lines = {problem["line"] for problem in json.loads(out)}
    marked = {n for n, line in enumerate(text.split("\n"), start=1) if "# decide:" in line}
    assert lines == marked
    assert {problem["code"] for problem in json.loads(out)} == {"empty-value", "undecided"}


def test_tags_come_with_their_evidence(run: Run, services: Services) -> None:
    services.on(QUERY, Answer(arxiv_feed(), media_type=ATOM))
    status, out, _ = run("add", "2402.12345", "--dry-run", "--json")
    assert status == 0
    (found,) = json.loads(out)
    assert found["status"] == "proposed"
    tags = {(tag["dimension"], tag["tag"]): tag["evidence"] for tag in found["tags"]}
    assert tags["data", "calibration"][-1] == {"in": "abstract", "words": "calibration"}
    assert tags["retraining", "without"][0] == {"in": "title", "words": "One-Shot"}
    assert local.ABSTRACT not in out


def test_dry_run_and_output(run: Run, root: Path, services: Services, tmp_path: Path) -> None:
    services.on(QUERY, Answer(arxiv_feed(), media_type=ATOM))
    before = snapshot(root)
    status, out, err = run("add", "2402.12345", "-n")
    assert status == 0
    assert out.startswith("# yaml-language-server")
    assert "nothing was written" in err
    target = tmp_path / "draft.yaml"
    assert run("add", "2402.12345", "--output", str(target), "--key", "berg2024toy")[0] == 0
    assert "key: berg2024toy" in target.read_text("utf-8")
    status, _, err = run("add", "2402.12345", "--output", str(target), "--key", "berg2024toy")
    assert status == 1
    assert "exists already" in err
    assert snapshot(root) == before


CROSSREF: dict[str, Any] = {
    "status": "ok",
    "message": {
        "DOI": "10.1234/toys.2024.7",
        "type": "journal-article",
        "title": ["Structured <i>Pruning</i> of Toys &amp; Games"],
        "author": [
            {"given": "Marcelo", "family": "Gennari do Nascimento", "sequence": "first"},
            {"given": "Jörg", "family": "Müller"},
            {"name": "The Toy Team"},
        ],
        "container-title": ["Journal of Toys"],
        "volume": "3",
        "issue": "2",
        "page": "11-19",
        "publisher": "Toy Press",
        "published": {"date-parts": [[2025, 1, 2]]},
        "relation": {"has-preprint": [{"id-type": "doi", "id": "10.48550/arXiv.2405.00077"}]},
        "resource": {"primary": {"URL": "https://toys.example.org/7"}},
        "abstract": "<jats:p>We remove attention heads.</jats:p>",
    },
}


def test_crossref(run: Run, root: Path, services: Services) -> None:
    services.on("/works/10.1234%2Ftoys.2024.7", Answer(json.dumps(CROSSREF).encode()))
    assert run("add", "https://doi.org/10.1234/toys.2024.7")[0] == 0
    data = entry_of(root, "gennaridonascimento2024structured")
    assert data["title"] == "Structured Pruning of Toys & Games"
    assert data["authors"] == ["Gennari do Nascimento, Marcelo", "Jörg Müller", "{The Toy Team}"]
    assert data["year"] == 2024  # the preprint was first
    assert data["venue"] == {
        "short": None, "full": "Journal of Toys", "year": 2025, "type": "journal",
        "volume": "3", "number": "2", "pages": "11--19", "publisher": "Toy Press",
    }  # fmt: skip
    assert data["ids"] == {"arxiv": "2405.00077", "doi": "10.1234/toys.2024.7"}
    assert data["lifecycle"]["status"] == "published"


def openreview(bibtex: str, **content: Any) -> bytes:
    given = {"_bibtex": bibtex, "abstract": "Masks are learned.", **content}
    wrapped = {name: {"value": value} for name, value in given.items()}
    return json.dumps({"notes": [{"cdate": 1695340800000, "content": wrapped}]}).encode()


ICLR = """@inproceedings{
doe2024toys,
title={Toys Are All You Need: {N:M} Masks},
author={Jane Doe and J{\\"o}rg M{\\"u}ller},
booktitle={The Twelfth International Conference on Learning Representations},
year={2024},
url={https://openreview.net/forum?id=AbCdEf1234}
}"""


def test_openreview(run: Run, root: Path, services: Services) -> None:
    services.on("/notes", Answer(openreview(ICLR, venue="ICLR 2024 poster")))
    assert run("add", "https://openreview.net/forum?id=AbCdEf1234&noteId=x")[0] == 0
    data = entry_of(root, "doe2023toys")
    assert data["authors"] == ["Jane Doe", "Jörg Müller"]
    assert data["ids"] == {"openreview": "AbCdEf1234"}
    # The name of the venue is as the entry of the sample has it.
    assert data["venue"]["full"] == "International Conference on Learning Representations"
    assert data["links"]["paper"] == "https://openreview.net/forum?id=AbCdEf1234"


ACL = """@inproceedings{doe-2024-toys,
    title = "Pruning Toys{'} Layers",
    author = "Doe, Jane  and
      van Dam, Piet",
    booktitle = "Findings of the Association for Computational Linguistics: EMNLP 2024",
    month = nov,
    year = "2024",
    publisher = "Association for Computational Linguistics",
    url = "https://aclanthology.org/2024.findings-emnlp.77/",
    doi = "10.18653/v1/2024.findings-emnlp.77",
    pages = "1--9",
    abstract = "We remove layers."
}"""


def test_acl_by_address_and_by_its_doi(run: Run, root: Path, services: Services) -> None:
    path = "/2024.findings-emnlp.77.bib"
    services.on(path, Answer(ACL.encode(), media_type="text/plain"))
    assert run("add", "https://doi.org/10.18653/v1/2024.findings-emnlp.77")[0] == 0
    data = entry_of(root, "doe2024pruning")
    assert data["title"] == "Pruning Toys' Layers"
    assert data["authors"] == ["Jane Doe", "Piet van Dam"]
    assert data["venue"]["short"] == "Findings of EMNLP 2024"
    assert data["ids"]["doi"] == "10.18653/v1/2024.findings-emnlp.77"
    status, out, _ = run("add", "https://aclanthology.org/2024.findings-emnlp.77.pdf")
    assert status == 0
    assert "here already" in out
    assert "unfinished" in out
    assert services.requests == [path]  # the second time without asking


def test_bib_file_needs_no_network(run: Run, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.bib"
    file.write_text(f"{ACL}\n\n{ICLR}\n", encoding="utf-8")
    status, out, _ = run("add", str(file), "--json")
    assert status == 0
    assert [each["key"] for each in json.loads(out)] == ["doe2024pruning", "doe2024toys"]
    assert (root / "papers/doe2024toys.yaml").exists()


# papers that are here already ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ("arXiv:2303.10010v3", "arxiv id"),
        ("https://arxiv.org/pdf/2303.10010", "arxiv id"),
        ("https://doi.org/10.48550/arXiv.2303.10010", "arxiv id"),
    ],
)
def test_known_by_identifier(run: Run, root: Path, source: str, how: str) -> None:
    before = snapshot(root)
    status, out, _ = run("add", source)
    assert status == 0
    assert "first2023base" in out
    assert how in out
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("title", "author", "certain"),
    [
        ("ZEROING WEIGHTS -- a base line", "Someone Else", True),
        ("Zeroing Weights: A Base Lines", "Someone Else", False),
        ("A Base Line: Zeroing Weights", "Someone Else", False),
    ],
)
def test_published_version_of_a_preprint_that_is_here(
    run: Run, root: Path, tmp_path: Path, title: str, author: str, certain: bool
) -> None:
    file = tmp_path / "new.bib"
    file.write_text(
        f"@article{{x, title={{{title}}}, author={{{author}}}, journal={{Toy Letters}}, "
        "year={2025}, doi={10.1234/zero}}",
        encoding="utf-8",
    )
    before = snapshot(root)
    status, out, _ = run("add", str(file), "--json")
    assert status == 0
    (found,) = json.loads(out)
    assert (found["status"], found["key"]) == ("known", "first2023base")
    assert found["certain"] is certain
    assert "doi 10.1234/zero" in found["record_adds"]
    assert snapshot(root) == before
    status, out, _ = run("add", str(file), "--anyway", "--dry-run", "--json")
    assert json.loads(out)[0]["status"] == ("known" if certain else "proposed")


def test_a_key_that_is_taken_gives_way_to_the_next_word(
    run: Run, root: Path, tmp_path: Path
) -> None:
    file = tmp_path / "new.bib"
    file.write_text(
        "@misc{x, title={The Base of Something Quite Different}, author={First, Max}, year={2023}, "
        "eprint={2309.00001}, archivePrefix={arXiv}}",
        encoding="utf-8",
    )
    assert run("add", str(file))[0] == 0
    assert (root / "papers/first2023something.yaml").exists()


# services that misbehave ---------------------------------------------------------------------


def fails(run: Run, root: Path, source: str = "2402.12345") -> str:
    """The one line of a failure that wrote nothing."""
    before = snapshot(root)
    status, out, err = run("add", source)
    assert status == 1
    assert out == ""
    lines = err.strip().split("\n")
    assert lines[0].startswith("Error: ")
    assert len(lines) <= 2  # the second says what to do
    assert "Traceback" not in err
    assert "mistake in Prunedex" not in err
    assert all(len(line) < 300 for line in lines)
    assert err.isprintable() or set(filter(lambda c: not c.isprintable(), err)) == {"\n"}
    assert snapshot(root) == before
    return lines[0]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(act=local.hang), "does not answer|sends nothing"),
        (Answer(act=local.drip), "takes more than"),
        (Answer(act=local.break_off), "breaks off"),
        (Answer(act=local.break_off_chunked), "breaks off"),
        (Answer(act=local.hang_up), "cannot be reached"),
        (Answer(b"<html><body>Hello</body></html>", media_type="text/html"), "a page for people"),
        (Answer(local.EMPTY_FEED, media_type=ATOM), "knows no paper"),
        (Answer(b"", 404), "knows no paper"),
        (Answer(b"no", 403), "status 403"),
        (Answer(b"<feed", media_type=ATOM), "knows no paper|something odd"),
        (Answer(b" " * (3 * 1024 * 1024), media_type=ATOM), "more than 2048 KiB"),
        (Answer(arxiv_feed("2402.99999"), media_type=ATOM), "another paper"),
        (Answer(b"\xff\xfe\x00", media_type=ATOM), "knows no paper|something odd"),
    ],
)
def test_bad_answer(run: Run, root: Path, services: Services, answer: Answer, says: str) -> None:
    services.on(QUERY, answer)
    assert re.search(says, fails(run, root))


def test_a_bomb_stays_small(run: Run, root: Path, services: Services) -> None:
    body = gzip.compress(b" " * (40 * 1024 * 1024))
    services.on(QUERY, Answer(body, media_type=ATOM, headers={"Content-Encoding": "gzip"}))
    assert "more than 2048 KiB" in fails(run, root)


def test_nobody_listens(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SERVICES", dict.fromkeys(web.SERVICES, "http://127.0.0.1:9"))
    assert "cannot be reached" in fails(run, root)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (QUERY, "redirects more than 4 times"),
        ("file:///etc/passwd", "redirects elsewhere"),
        ("http://127.0.0.2:1/x", "redirects elsewhere"),
        ("https://evil.example.org/", "redirects elsewhere"),
        ("http://[bad", "redirects elsewhere|cannot be asked"),
    ],
)
def test_redirects(run: Run, root: Path, services: Services, location: str, says: str) -> None:
    services.on(QUERY, Answer(b"", 302, headers={"Location": location}))
    assert re.search(says, fails(run, root))
    assert len(services.requests) <= web.MAX_REDIRECTS + 1


def test_a_redirect_within_the_service_is_followed(run: Run, services: Services) -> None:
    services.on(QUERY, Answer(b"", 301, headers={"Location": "/elsewhere"}))
    services.on("/elsewhere", Answer(arxiv_feed(), media_type=ATOM))
    assert run("add", "2402.12345", "-n")[0] == 0


def test_patience_with_limits(run: Run, root: Path, services: Services, waits: list[float]) -> None:
    busy = Answer(b"slow down", 429, headers={"Retry-After": "7"})
    services.on(QUERY, busy, Answer(b"", 503), Answer(arxiv_feed(), media_type=ATOM))
    assert run("add", "2402.12345", "-n")[0] == 0
    assert waits == [7.0, 2.0]
    waits.clear()
    services.on(QUERY, busy)
    assert "asks to wait 7 s" in fails(run, root)
    assert waits == [7.0, 7.0]
    waits.clear()
    services.on(QUERY, Answer(b"", 429, headers={"Retry-After": "86400"}))
    assert "asks to wait 86400 s" in fails(run, root)
    services.on(QUERY, Answer(b"", 429, headers={"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}))
    assert "asks to wait" in fails(run, root)
    assert waits == []
    services.on(QUERY, Answer(b"", 500))
    assert "status 500 (3 requests)" in fails(run, root)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<!DOCTYPE html><p>x", "a page for people"),
        (b"{", "no valid JSON"),
        (b"[" * 100_000, "no valid JSON"),
        (b"[]", "JSON of another form"),
        (b'{"message": 3}', "JSON of another form"),
        (b'{"message": {}}', "another paper"),
    ],
)
def test_bad_json(run: Run, root: Path, services: Services, body: bytes, says: str) -> None:
    services.on("/works/10.1234%2Fx", Answer(body))
    assert says in fails(run, root, "10.1234/x")


# hostile records -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"title": "Toys\u202egnip"}, "control character U.202E"),
        ({"title": "Toys\u200b"}, "control character U.200B"),
        ({"title": "Toys &lt;script&gt;alert(1)&lt;/script&gt;"}, "markup"),
        ({"title": "x" * 1_900_000}, "characters as the title"),
        ({"title": ""}, "no key can be made|title"),
        ({"authors": ("../../etc/passwd",)}, "names an author"),
        ({"authors": ("..", "Bo Second")}, "names an author"),
        ({"authors": ("Eve\u2066 Mallory",)}, "control character"),
        ({"authors": ("Eve" * 100,)}, "characters as an author's name"),
        ({"authors": ("李",)}, "no key can be made"),
    ],
)
def test_hostile_record(
    run: Run, root: Path, services: Services, change: dict[str, Any], says: str
) -> None:
    services.on(QUERY, Answer(arxiv_feed(**change), media_type=ATOM))
    assert re.search(says, fails(run, root))


@pytest.mark.parametrize(
    "title",
    [
        "Toys: 'quoted' \"twice\" # no comment",
        "- key: evil2024",
        "[a, b]: {c}",
        "&amp;anchor *alias !!python/object:os.system",
        "%YAML 1.2 --- ...",
        "| literal &gt; folded",
        "? complex : key",
        "null",
        "2024",
        "Toys # decide: nothing",
        "a < b and c > d",
        "word " * 60,
    ],
)
def test_titles_that_look_like_yaml_are_only_text(
    run: Run, root: Path, services: Services, title: str
) -> None:
    services.on(QUERY, Answer(arxiv_feed(title=title.replace(" < ", " &lt; ")), media_type=ATOM))
    assert run("add", "2402.12345", "--key", "berg2024odd")[0] == 0
    data = entry_of(root, "berg2024odd")
    expected = title.replace("&amp;", "&").replace("&gt;", ">")
    assert data["title"] == " ".join(expected.split())
    assert list(data) == [name for name in Entry.model_fields if name in data]


def test_hostile_abstract_reaches_no_file(run: Run, root: Path, services: Services) -> None:
    abstract = (
        "Pruning\u202e \x85 &lt;b&gt;without retraining\n  key: evil\n# decide: x" + "y " * 9000
    )
    services.on(QUERY, Answer(arxiv_feed(abstract=abstract), media_type=ATOM))
    assert run("add", "2402.12345")[0] == 0
    text = (root / "papers/vanderberg2024sparsetoy.yaml").read_text("utf-8")
    assert "evil" not in text
    assert "\u202e" not in text
    assert "y y y" not in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no BibTeX entry"),
        ("@article{x, title={Half", "no BibTeX entry"),
        ("@article{x, title={A}, author={B C}, year={soon}, journal={J}}", "as the year"),
        ("@article{x, title={A B}, author={C D and others}, year={2020}, journal={J}}", "others"),
        ("@article{x, title={A B}, author={C D}, year={2020}}", "neither a venue nor"),
        ("@article{x, author={C D}, year={2020}, journal={J}}", "without a title"),
        (
            "@misc{x, title={A B}, author={C D}, year={2020}, url={javascript:alert(1)}}",
            "as a link",
        ),
        ("@misc{x, title={A \\href{x}{B}\x07}, author={C D}, year={2020}}", "control character"),
    ],
)
def test_bad_bib(run: Run, root: Path, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.bib"
    file.write_text(text, encoding="utf-8")
    assert says in fails(run, root, str(file))


@pytest.mark.parametrize("source", ["", "wanda", "https://example.org/x", "2313.00001", "x.bib"])
def test_what_names_no_paper(run: Run, source: str) -> None:
    status, _, err = run("add", source)
    assert status == 2
    assert err.startswith("Error: ")


# from nothing to a passing check -----------------------------------------------------------------

EDITS = [
    (r"name: SparseToy  # decide:.*", "name: SparseToy"),
    (r"  type: preprint  # decide:.*", "  type: preprint"),
    (r"kind: method  # decide:.*", "kind: method"),
    (r"  code:  # decide:.*", "  code:"),
    (r"takeaway:  # decide:.*", "takeaway: A cheap first try where 2:4 masks pay."),
    (r"mechanism:  # decide:.*", "mechanism: Solves each layer for the mask and what is left."),
    (r"challenges:  # decide:.*", "challenges: [It was tried on toys alone.]"),
    (r"  type: .*# decide:.*", "  type: [unstructured]"),
    (r"  criterion: .*# decide:.*", "  criterion: [magnitude]"),
    (r"  budget: .*# decide:.*", "  budget: [sparsity]"),
    (r"  data: (.*)  # decide:.*", r"  data: \1"),
    (r"  retraining: (.*)  # decide:.*", r"  retraining: \1"),
    (r"  weight_update: .*# decide:.*", "  weight_update: [update]"),
    (r"  models:  # decide:.*", "  models: [Small-1B]"),
    (r"  evaluation:  # decide:.*", "  evaluation: [Texts]"),
    (r"    url:  # decide:.*", "    url: https://arxiv.org/abs/2402.12345"),
    (r"    seen:  # decide:.*", "    seen: 2026-11-22"),
]
"""What a person types after reading the paper: one value or one deletion a mark."""


def test_from_an_identifier_to_a_passing_check(run: Run, root: Path, services: Services) -> None:
    services.on(QUERY, Answer(arxiv_feed(), media_type=ATOM))
    assert run("check")[0] == 0
    started = time.perf_counter()
    status, out, _ = run("add", "2402.12345")
    assert status == 0
    path = re.search(r"Wrote (\S+):", out)
    assert path is not None
    file = root / path[1]
    text = file.read_text("utf-8")
    for pattern, replacement in EDITS:
        text, count = re.subn(f"(?m)^{pattern}$", replacement, text)
        assert count == 1, pattern
    assert "decide" not in text
    file.write_text(text, encoding="utf-8")
    status, out, err = run("check", path[1], "--strict")
    seconds = time.perf_counter() - started
    assert (status, out) == (0, ""), (out, err)
    assert len(EDITS) <= 20
    assert seconds < 20, f"the machine's part took {seconds:.1f} s"
    status, out, _ = run("check", "--fix", path[1])
    assert file.read_text("utf-8") == text  # what add writes is as --fix would have it


# keys and names ------------------------------------------------------------------------------------


def test_keys_and_names_are_made_as_people_made_them() -> None:
    """Over all entries: the rule gives the key that the entry has, and mostly its name."""
    catalog = Catalog.load(Path(__file__).resolve().parents[2])
    entries = [entry for entry in catalog.entries.values() if entry.authors]
    assert len(entries) > 50
    wrong, names, named = [], 0, 0
    for entry in entries:
        venue = VenueGuess(None, "", entry.year, "other")
        record = Record(entry.title, entry.authors, entry.year, venue, {}, None, None)
        if make_key(record, []) != entry.key:
            wrong.append((entry.key, make_key(record, [])))
        guess = method_name(entry.title)
        named += guess is not None
        names += guess is not None and guess == entry.name
    assert len(wrong) <= 0.12 * len(entries), wrong
    assert names >= 0.8 * named


def test_every_rule_names_a_tag_of_the_vocabulary() -> None:
    vocabulary = Catalog.load(Path(__file__).resolve().parents[2]).vocabulary
    for rule in rules().tags:
        assert vocabulary.has(rule.dimension, rule.tag), rule


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("Structured pruning of models", ("type", "structured")),
        ("unstructured pruning of models", ("type", "unstructured")),
        ("We remove 25% of the layers", ("type", "depth")),
        ("pruning without any fine-tuning", ("retraining", "without")),
        ("recover with LoRA", ("retraining", "efficient")),
        ("a KV cache eviction policy", ("type", "kv-cache")),
        ("guided by gradients of the loss", ("criterion", "taylor")),
        ("joint pruning and quantization", ("type", "quantization")),
        ("without retraining or weight updates", ("weight_update", "frozen")),
    ],
)
def test_rules(text: str, tag: tuple[str, str]) -> None:
    vocabulary = Catalog.load(Path(__file__).resolve().parents[2]).vocabulary
    found = {(p.dimension, p.tag): p for p in propose_tags(vocabulary, "", text)}
    assert tag in found
    ((where, words),) = found[tag].evidence
    assert where == "abstract"
    assert words in text


def test_rules_do_not_take_the_contrary() -> None:
    vocabulary = Catalog.load(Path(__file__).resolve().parents[2]).vocabulary
    text = "Unstructured, gradient-free, trained with gradient descent, no weight update"
    found = {(p.dimension, p.tag) for p in propose_tags(vocabulary, "", text)}
    assert found.isdisjoint(
        {("type", "structured"), ("criterion", "gradient"), ("weight_update", "update")}
    )


@pytest.mark.parametrize(
    ("part", "precision", "recall"),
    [("title", 0.92, 0.1), ("takeaway", 0.8, 0.2)],  # measured: 0.97 and 0.14, 0.85 and 0.25
)
def test_most_proposals_are_tags_of_the_entry(part: str, precision: float, recall: float) -> None:
    """Over all entries: a proposal is right if the entry has the tag or one below it."""
    catalog = Catalog.load(Path(__file__).resolve().parents[2])
    right = wrong = found = tags = 0
    for entry in catalog.entries.values():
        if entry.tags is None:
            continue
        text = entry.takeaway if part == "takeaway" else ""
        # A parent that is proposed tells where to look for the tag.
        families = [
            (each.dimension, catalog.vocabulary.descendants(each.dimension, each.tag))
            for each in propose_tags(catalog.vocabulary, entry.title, text)
        ]
        has = [(name, tag) for name in catalog.vocabulary for tag in entry.tags.of(name)]
        for dimension, family in families:
            hit = any(name == dimension and tag in family for name, tag in has)
            right, wrong = right + hit, wrong + (not hit)
        found += sum(
            any(name == d and tag in family for d, family in families) for name, tag in has
        )
        tags += len(has)
    assert right >= precision * (right + wrong), (right, wrong)
    assert found >= recall * tags, (found, tags)
