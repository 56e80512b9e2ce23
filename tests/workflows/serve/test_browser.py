"""The pages in a real browser: filter, open a label, see its moments, compare models, live updates, decisions."""

import re

import pytest
from playwright.sync_api import expect

from datastore import open_store

from .conftest import HOSTILE, extra_label

pytestmark = pytest.mark.browser

ARROWS = """(() => {const found = [];
window[Object.keys(window).find(k => k.startsWith('scene_'))].traverse(o => {
  if (o.isMesh && o.geometry.parameters.radiusTop === 0 && o.parent.visible)
    found.push('#' + o.material.color.getHexString())}); return found})()"""
"""Colours of the heads of the arrows that are shown."""


def log_in(page, server):
    page.goto("/login")
    page.fill("input[name=token]", server.token)
    page.click("button")


def test_a_filter_leaves_its_labels_and_a_click_opens_one(page, server):
    page.goto(f"/{server.key}/points")
    rows = page.locator(".q-table tbody tr")
    expect(rows).to_have_count(22)
    page.fill("input", "ordering=FM deformation=displacement verdict=accepted")
    page.keyboard.press("Enter")
    expect(rows).to_have_count(10)
    expect(page.get_by_text("10 match")).to_be_visible()
    assert "where=ordering" in page.url
    page.reload()
    expect(rows).to_have_count(10)
    name = rows.first.locator("a").inner_text()
    rows.first.locator("a").click()
    expect(page.locator(".h1")).to_have_text("NiO FM")
    assert f"/point/{name}" in page.url


def test_a_filter_that_cannot_be_read_says_so_and_keeps_the_table(page, server):
    page.goto(f"/{server.key}/points?where=ordring%3DFM")
    expect(page.get_by_text("did you mean 'ordering'?")).to_be_visible()


def test_the_store_sorts_and_turns_pages(page, server):
    page.goto(f"/{server.key}/points?size=10&sort=-energy_per_atom")
    expect(page.get_by_text("1-10 of 22")).to_be_visible()
    first = [float(cell) for cell in page.locator("tbody tr td:nth-child(8)").all_inner_texts()]
    assert first == sorted(first, reverse=True)
    page.locator("button[aria-label='Next page']").click()
    expect(page.get_by_text("11-20 of 22")).to_be_visible()
    second = [float(cell) for cell in page.locator("tbody tr td:nth-child(8)").all_inner_texts()]
    assert max(second) <= min(first)
    page.get_by_role("columnheader", name="energy, eV/atom").click()
    expect(page.get_by_text("1-10 of 22")).to_be_visible()


def test_moments_of_a_flipped_label_are_marked_and_drawn(page, server):
    page.goto(f"/{server.key}/point/{server.flipped}")
    sites = page.locator(".q-table").first.locator("tbody tr")
    expect(sites).to_have_count(4)
    cells = [[cell.strip() for cell in row.locator("td").all_inner_texts()][1:5] for row in sites.all()]
    assert cells[:2] == [["Ni", "+2.50", "-2.50", ""], ["Ni", "-2.50", "-2.50", "flipped"]]
    expect(page.get_by_text("flipped: site 1")).to_be_visible()
    expect(page.get_by_text("all moments came out reversed")).to_be_visible()
    expect(page.locator("canvas")).to_be_visible()
    page.wait_for_selector("[data-initializing]", state="detached")
    page.wait_for_function(f"() => {ARROWS}.length > 0")
    colours = page.evaluate(f"() => {ARROWS}")
    assert set(colours) == {"#1d4ed8"}
    page.get_by_role("button", name="asked for").click()
    page.wait_for_function(f"() => new Set({ARROWS}).size === 2")
    page.get_by_role("button", name="none").click()
    page.wait_for_function(f"() => {ARROWS}.length === 0")


def test_relatives_of_a_label_stand_with_their_energies(page, server):
    page.goto(f"/{server.key}/points?where=ordering%3DFM&size=10")
    page.locator("tbody tr a").first.click()
    members = page.locator(".q-table").nth(1).locator("tbody tr")
    expect(members).to_have_count(2)
    above = sorted(float(text) for text in members.locator("td:nth-child(4)").all_inner_texts())
    assert above[0] == 0 < above[1] < 200
    members.locator("a").click()
    expect(page.locator(".h1")).to_have_text(re.compile("NiO AFM-II"))


def test_two_models_side_by_side(page, server):
    page.goto(f"/{server.key}/models")
    rows = page.locator(".q-table tbody tr")
    expect(rows).to_have_count(2)
    for row in rows.all():
        row.locator(".q-checkbox").click()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("good against poor: errors -")).to_be_visible()
    cells = page.get_by_role("row", name=re.compile("test set random.*energy")).locator("td").all_inner_texts()
    assert float(cells[3]) > float(cells[4])
    assert cells[6].strip() == "good"


def test_parity_of_a_model(page, server):
    page.goto(f"/{server.key}/model/good")
    expect(page.locator(".nicegui-echart canvas")).to_have_count(4)
    page.goto(f"/{server.key}/model/poor")
    expect(page.get_by_text("no predictions of this model")).to_be_visible()


def test_a_label_that_arrives_is_there_without_a_reload(page, server):
    page.goto(f"/{server.key}/points?where=campaign%3Dnew")
    expect(page.get_by_text("0 match")).to_be_visible()
    page.wait_for_timeout(2500)
    with open_store(server.example.options.store) as store:
        point = extra_label(server.example, 3).model_copy(update={"campaign": "new"})
        store.put_point(point)
    expect(page.get_by_text("1 match")).to_be_visible()
    expect(page.get_by_text(point.point_id[:12])).to_be_visible()
    with open_store(server.example.options.store) as store:
        store.points.remove_docs({"point_id": point.point_id})


def test_texts_of_documents_are_never_html(page, server):
    for path in ("/", f"/{server.key}/points", f"/{server.key}/point/{server.hostile}"):
        page.goto(path)
        expect(page.get_by_text(HOSTILE).first).to_be_attached()
        assert page.locator("img").count() == 0
        assert "49" not in page.locator(".h1").first.inner_text()


def test_a_decision_needs_the_token(page, server):
    page.goto(f"/{server.key}/point/{server.flipped}")
    expect(page.get_by_role("button", name="Decide")).to_have_count(0)
    page.get_by_text("Log in to decide on this label").click()
    page.fill("input[name=token]", "not the token")
    page.click("button")
    expect(page.get_by_text("that is not the token")).to_be_visible()
    page.fill("input[name=token]", server.token)
    page.click("button")
    page.get_by_label("your name").fill("Ada")
    page.get_by_role("button", name="Decide").click()
    expect(page.get_by_text("a decision needs an author and a reason")).to_be_visible()
    page.get_by_label("reason; stays in the log").fill(HOSTILE)
    page.get_by_role("button", name="Decide").click()
    expect(page.get_by_text(re.compile("reject by Ada:"))).to_be_visible()
    with open_store(server.example.options.store) as store:
        decision = store.decision_on(server.flipped)
    assert (decision.action, decision.author, decision.reason) == ("reject", "Ada", HOSTILE)


def test_a_login_that_has_ended_changes_nothing(page, server):
    log_in(page, server)
    page.goto(f"/{server.key}/point/{server.hostile}")
    page.get_by_label("your name").fill("Eve")
    page.get_by_label("reason; stays in the log").fill("no")
    page.request.get("/logout")
    page.get_by_role("button", name="Decide").click()
    expect(page.get_by_text("your login has ended")).to_be_visible()
    with open_store(server.example.options.store) as store:
        assert store.decision_on(server.hostile) is None


def test_campaigns_are_listed_with_their_errors(page, server):
    page.goto("/")
    expect(page.locator(".card .h1").first).to_have_text(HOSTILE)
    card = page.locator(".card", has=page.get_by_text("nio", exact=True))
    expect(card.get_by_text("20 accepted, 1 rejected, 0 failed")).to_be_visible()
    expect(card.locator("canvas")).to_be_visible()


def test_what_is_not_there_is_said_without_a_trace(page, server):
    for path in (f"/{server.key}/point/none", f"/{server.key}/model/none", "/nowhere/points"):
        page.goto(path)
        expect(page.locator("body")).to_contain_text("no ")
        assert "Traceback" not in page.content()
        assert "site-packages" not in page.content()
