"""The guide: every path ends in papers, and its links hold what it promises."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from small_catalog import REPOSITORY

from catalog.query import Filter, select
from catalog.schema import DIMENSIONS
from catalog.site import addresses
from catalog.site.guide import GOALS, PARTS, QUESTIONS, Answer, Guide, run
from catalog.site.shelf import Shelf
from catalog.store import Catalog


@pytest.fixture(scope="module")
def real() -> Guide:
    """The guide over the project's own catalog."""
    return Guide(Shelf(Catalog.load(REPOSITORY)))


def paths(guide: Guide) -> Iterator[dict[str, str]]:
    """Every combination of answers that the page lets a person click together."""
    goals = next(question for question in guide.questions if question.id == GOALS.id)
    rest = [each for each in guide.questions if each.id not in (GOALS.id, PARTS.id)]
    for goal in goals.answers:
        for part in guide.parts(goal):
            for answers in itertools.product(*(each.answers for each in rest)):
                chosen = dict(zip((each.id for each in rest), answers, strict=True))
                yield {
                    "goal": goal.id,
                    "part": part.id,
                    **{name: answer.id for name, answer in chosen.items()},
                }


def test_every_value_that_the_guide_asks_for_is_in_the_vocabulary() -> None:
    vocabulary = Catalog.load(REPOSITORY).vocabulary
    for question in QUESTIONS:
        assert question.answers[0] == Answer("any", *_texts(question.answers[0]), {})
        for answer in question.answers:
            for facet, values in answer.wanted.items():
                if facet == "has":
                    assert set(values) <= {"code", "runs"}
                else:
                    assert all(vocabulary.has(facet, value) for value in values), answer


def _texts(answer: Answer) -> tuple[str, str]:
    return answer.label, answer.why


def test_no_answer_of_the_guide_is_empty_in_the_real_catalog(real: Guide) -> None:
    offered = {(q.id, answer.id) for q in real.questions for answer in q.answers}
    assert offered == {(q.id, answer.id) for q in QUESTIONS for answer in q.answers}


def test_a_person_never_clicks_into_nothing(real: Guide) -> None:
    """An answer is offered while papers are left, so every path that can be gone ends in one."""
    counts = {tuple(path.items()): len(real.papers(real.wanted(path))) for path in paths(real)}
    assert len(counts) > 1000
    start = next(iter(counts))
    assert dict(start) == dict.fromkeys(dict(start), "any")
    assert counts[start] == len(real.shelf.entries)
    reached, waiting = set(), [start]
    while waiting:
        state = waiting.pop()
        if state in reached or not counts[state]:
            continue
        reached.add(state)
        for place, (name, _) in enumerate(state):
            for answer in {path[place][1] for path in counts}:
                step = (*state[:place], (name, answer), *state[place + 1 :])
                if step in counts:
                    waiting.append(step)
    # Whatever has a paper is reached, and the answers of every question take part.
    assert reached == {path for path, count in counts.items() if count}
    used = {answer for path in reached for answer in path}
    assert used == {(q.id, answer.id) for q in real.questions for answer in q.answers}


def test_the_command_line_finds_the_same(real: Guide) -> None:
    """The guide's filter, put to `prunedex list` in its own words."""
    catalog = real.shelf.catalog
    for path in paths(real):
        if path["code"] == "official":
            continue  # the command line counts other people's code too
        wanted = real.wanted(path)
        tags: dict[str, Any] = {name: wanted.get(name, ()) for name in DIMENSIONS}
        found = select(catalog, Filter(**tags, runs_here=True if "has" in wanted else None))
        assert {entry.key for entry in real.papers(wanted)} == {entry.key for entry in found}


def test_the_table_has_every_goal_and_only_commands_that_exist(real: Guide) -> None:
    table = real.table()
    assert [goal.id for goal, _ in table] == [each.id for each in GOALS.answers[1:]]
    for goal, rows in table:
        assert rows, goal.id
        for row in rows:
            assert row.papers
            for _, method, line in row.runnable:
                assert line.startswith(f"prunedex run {method.name}")
    gpu = next(rows for goal, rows in table if goal.id == "gpu")
    assert [line for _, method, line in gpu[0].runnable if method.name == "wanda"] == [
        "prunedex run wanda --model smollm2-135m --pattern 2:4"
    ]


def test_a_method_for_other_models_is_run_on_what_comes_along(real: Guide) -> None:
    methods = real.shelf.catalog.methods
    assert run(methods["scop"]) == "prunedex run scop"
    assert run(methods["h2o"]) == "prunedex run h2o --model smollm2-135m"


# In the browser ----------------------------------------------------------------------------


def open_guide(page: Page, query: str = "") -> Page:
    page.goto(f"guide.html{query}")
    page.wait_for_selector("[data-guide][data-ready]")
    return page


def listed(page: Page) -> set[str]:
    """The papers in the list, once their rows have come."""
    expect(page.locator("[data-papers]")).not_to_have_attribute("aria-busy", "true")
    found: list[str] = page.eval_on_selector_all(
        ".guide-paper h3 a", "links => links.map(link => link.getAttribute('href'))"
    )
    return set(found)


def choose(page: Page, question: str, answer: str) -> None:
    page.locator(f"[data-question={question}] input[value='{answer}']").check()


def test_the_browser_finds_what_the_guide_promises(page: Page, catalog: Catalog) -> None:
    """Every path of the small catalog: papers, number and link."""
    guide = Guide(Shelf(catalog))
    open_guide(page)
    for path in itertools.islice(paths(guide), 0, None, 7):
        given = "&".join(f"{name}={answer}" for name, answer in path.items())
        expected = {addresses.paper(entry.key) for entry in guide.papers(guide.wanted(path))}
        page.evaluate(
            """(address) => { history.pushState(null, "", address); dispatchEvent(new PopStateEvent("popstate")); }""",
            f"guide.html?{given}",
        )
        assert listed(page) == expected, path
        link = page.locator("[data-open]").get_attribute("href") or ""
        asked = parse_qs(urlsplit(link).query)
        assert asked == {name: list(values) for name, values in guide.wanted(path).items()}


def test_answers_lead_to_a_command_and_to_the_catalog(page: Page) -> None:
    open_guide(page)
    choose(page, "goal", "gpu")
    choose(page, "survivors", "frozen")
    expect(page.locator("[data-status]")).to_have_text("1 paper")
    code = page.locator(".guide-paper code")
    expect(code).to_have_text("prunedex run wanda --model smollm2-135m --pattern 2:4")
    page.get_by_label("Commands for the model").fill("my models/it's")
    expect(code).to_have_text("""prunedex run wanda --model 'my models/it'"'"'s' --pattern 2:4""")
    page.locator(".guide-paper").get_by_role("button").click()
    expect(page.locator(".guide-paper").get_by_role("button")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == code.inner_text()
    page.get_by_role("link", name="Open in the catalog").click()
    page.wait_for_selector("[data-catalog][data-ready]")
    rows = page.eval_on_selector_all("[data-rows] > *", "rows => rows.map(row => row.dataset.key)")
    assert rows == ["sun2023simple"]
    expect(page.locator("[data-chips] button")).to_have_text(
        [re.compile("N:M"), re.compile("Frozen"), "Clear all"]
    )


def test_the_address_keeps_the_answers_and_back_takes_one_back(page: Page) -> None:
    open_guide(page)
    choose(page, "goal", "anywhere")
    choose(page, "part", "depth")
    expect(page).to_have_url(re.compile(re.escape("guide.html?goal=anywhere&part=depth") + "$"))
    expect(page.locator("[data-question=part] label[data-answer='unstructured']")).to_be_hidden()
    page.go_back()
    expect(page.locator("[data-question=part] input[value='any']")).to_be_checked()
    choose(page, "part", "width")
    choose(page, "goal", "zeros")  # which width does not serve
    expect(page).to_have_url(re.compile(re.escape("guide.html?goal=zeros") + "$"))
    page.reload()
    page.wait_for_selector("[data-guide][data-ready]")
    expect(page.locator("[data-question=goal] input[value='zeros']")).to_be_checked()
    page.get_by_role("button", name="Start again").click()
    expect(page).to_have_url(re.compile(re.escape("guide.html") + "$"))
    open_guide(page, "?goal=nonsense&part=%3Cb%3E&model=%3Cimg%20src%3Dx%3E")
    assert page.locator(".guide-paper img").count() == 0


def test_the_guide_works_from_the_keyboard(page: Page) -> None:
    open_guide(page)
    page.locator("[data-question=goal] input[value=any]").focus()
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile(re.escape("goal=")))
    expect(page.locator("input[name='goal']:focus")).to_be_visible()


def test_without_javascript_there_is_the_table(browser: Browser, base: str, site: Path) -> None:
    context = browser.new_context(base_url=base, java_script_enabled=False)
    page = context.new_page()
    page.goto("guide.html")
    expect(page.locator("[data-questions]")).to_be_hidden()
    table = page.get_by_role("table", name="Faster on any machine")
    expect(table.get_by_role("rowheader", name="Whole layers")).to_be_visible()
    table.get_by_role("link", name="1 papers tagged Depth").first.click()
    expect(page.locator("h1")).to_have_text("Depth")
    context.close()
