"""What people come for, done as they would do it: find and cite, follow what improved, run."""

from __future__ import annotations

import re

import bibtexparser
from playwright.sync_api import Page, expect


def test_find_structured_methods_without_retraining_and_cite_them(page: Page) -> None:
    page.goto("index.html")
    page.get_by_role("link", name=re.compile(r"^Structured \d")).first.click()
    expect(page.locator("input[name=type][value=structured]")).to_be_checked()
    page.locator("details[data-facet=retraining] summary").click()
    page.locator("input[name=retraining][value=without]").check()
    expect(page.locator("[data-status]")).to_have_text("1 of 7 papers")
    # The filters are long; what was found and the way to take it along stay in view.
    page.locator("details[data-facet=has] summary").click()
    page.locator("details[data-facet=has] label").last.scroll_into_view_if_needed()
    export = page.locator("[data-export] summary")
    expect(export).to_be_in_viewport()
    export.click()
    page.get_by_role("button", name="Copy BibTeX").click()
    expect(page.get_by_role("button", name="Copied 1 paper")).to_be_visible()
    library = bibtexparser.parse_string(page.evaluate("navigator.clipboard.readText()"))
    assert [each.key for each in library.entries] == ["men2024shortgpt"]


def test_see_what_came_after_a_method_and_by_how_much(page: Page) -> None:
    page.goto("index.html")
    page.get_by_role("searchbox", name="Search the catalog").fill("sparsegpt")
    page.keyboard.press("Enter")
    page.get_by_role("link", name=re.compile("^SparseGPT: Massive")).click()
    page.get_by_role("link", name="Later methods beside it").click()
    expect(page).to_have_url(re.compile("#against$"))
    table = page.get_by_role("table", name="later methods beside SparseGPT")
    expect(table).to_be_in_viewport()
    row = table.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row.get_by_role("rowheader")).to_have_text("Wanda")
    # 7.26 against 7.22 with the short windows, 6.42 against 6.51 with the long ones.
    expect(row).to_contain_text("1 of 2")
    expect(row).to_contain_text("50 % of the weights; lower is better; as its own authors report")
    expect(row).to_contain_text("7.26")
    row.get_by_role("link", name="LLaMA-7B, WikiText-2: perplexity").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("LLaMA-7B on WikiText-2")
    page.go_back()
    page.get_by_role("link", name="shared figures with Wanda").click()
    expect(page.locator(".compare-table thead a")).to_have_text(["SparseGPT", "Wanda"])


def test_run_a_method_on_a_model_of_ones_own(page: Page) -> None:
    page.goto("index.html")
    page.locator("#content").get_by_role("link", name=re.compile("^Run ")).click()
    own = page.get_by_role("region", name="On a model of yours")
    expect(own.get_by_role("heading", level=3)).to_have_text(["Install", "Prune", "Use it"])
    expect(own.locator("pre").first).to_contain_text("pip install")
    own.get_by_role("button", name="Copy").nth(1).click()
    command = "prunedex run wanda --model ./my-model --save ./pruned"
    expect(own.locator("pre").nth(1)).to_have_text(command)
    expect(own.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").strip() == command
    page.get_by_role("link", name="Wanda", exact=True).first.click()
    page.get_by_role("link", name="Run it").click()
    expect(page.get_by_role("heading", name="Run it")).to_be_in_viewport()
    expect(page.locator("pre", has_text=command)).to_be_visible()
    page.get_by_role("link", name="How to install it").click()
    expect(page).to_have_url(re.compile(r"methods\.html#own$"))
