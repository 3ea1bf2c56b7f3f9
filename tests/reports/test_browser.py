"""The page in a real browser: what it logs, what it asks for, how it sorts, how it fits. Skipped without Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import dametric
from tests.reports.browser import Browser, installed
from tests.reports.test_page import write_run, write_study

VALUES = """[...document.querySelectorAll("#table-runs tbody tr")].map(row => Number(row.cells[PLACE].dataset.v))"""
HEAD = """[...document.querySelectorAll("#table-runs thead th")]"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    study = write_study(folder)
    dametric.report(study, folder / "report.html", metrics="t_stddev", resamples=99, quiet=True)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = installed()
    if found is None:
        pytest.skip("no chromium or chrome on this machine")
    with Browser(found, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def browser(program: Browser, address: str) -> Browser:
    program.size(1280, 900)
    program.open(address)
    return program


def place_of(browser: Browser, name: str) -> int:
    found = browser.run(f"{HEAD}.findIndex(cell => cell.textContent.startsWith('{name}'))")
    assert found >= 0
    return int(found)


def test_nothing_is_logged_and_nothing_is_asked_for(browser: Browser, address: str) -> None:
    browser.run("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert browser.requests == [address]
    assert browser.complaints == []


def test_the_browser_tells_of_errors_and_requests(browser: Browser) -> None:
    """The two lists above would not be empty otherwise; the policy of the page refuses both."""
    browser.run("{ const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; document.body.append(image); }")
    browser.run(
        "{ const code = document.createElement('script'); code.textContent = '1'; document.body.append(code); }"
    )
    browser.run("new Promise(done => setTimeout(done, 50))")
    assert len(browser.complaints) == 2
    assert all("Content Security Policy" in text for text in browser.complaints)


def test_a_click_sorts(browser: Browser) -> None:
    place = place_of(browser, "Test loss")
    values = VALUES.replace("PLACE", str(place))
    before = browser.run(values)
    assert before != sorted(before)
    browser.run(f"{HEAD}[{place}].scrollIntoView({{block: 'center', inline: 'center'}})")
    box = browser.run(f"(box => [box.x, box.y, box.width, box.height])({HEAD}[{place}].getBoundingClientRect())")
    for wanted, word in ((sorted(before), "ascending"), (sorted(before, reverse=True), "descending")):
        browser.click(box[0] + box[2] / 2, box[1] + box[3] / 2)
        assert browser.run(values) == wanted
        assert browser.run(f"{HEAD}[{place}].getAttribute('aria-sort')") == word
        assert browser.run("document.getElementById('said').textContent") == f"Sorted by Test loss, {word}"
    assert browser.complaints == []


def test_the_keyboard_sorts(browser: Browser) -> None:
    place = place_of(browser, "Test loss")
    values = VALUES.replace("PLACE", str(place))
    before = browser.run(values)
    browser.run(f"{HEAD}[{place - 1}].querySelector('button').focus()")
    browser.press("Tab")
    assert browser.run("document.activeElement.textContent").startswith("Test loss")
    ring = browser.run("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid", "what has the focus is not seen"
    browser.press("Enter")
    assert browser.run(values) == sorted(before)
    browser.press(" ")
    assert browser.run(values) == sorted(before, reverse=True)


def test_unknown_values_stay_last(browser: Browser) -> None:
    script = """(() => {
      const table = document.getElementById("table-runs"), body = table.tBodies[0];
      body.rows[0].cells[PLACE].dataset.v = "";
      const button = table.tHead.rows[0].cells[PLACE].querySelector("button"), found = [];
      for (let turn = 0; turn < 2; turn++) { button.click(); found.push(body.rows[body.rows.length - 1]); }
      return found.every(row => row.cells[PLACE].dataset.v === "");
    })()"""
    assert browser.run(script.replace("PLACE", str(place_of(browser, "Test loss"))))


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
def test_the_page_fits_its_window(browser: Browser, width: int, phone: bool) -> None:
    browser.size(width, 844, phone=phone)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    sizes = "[...document.querySelectorAll('p, li, td, th, dd')].map(node => getComputedStyle(node).fontSize)"
    assert min(float(size.removesuffix("px")) for size in browser.run(sizes)) >= 13, "type too small to read"


def test_a_phone_shows_names_with_values_and_that_a_table_goes_on(browser: Browser) -> None:
    browser.size(400, 844, phone=True)
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = "document.getElementById('table-points').parentElement"
    assert browser.run(f"{box}.scrollWidth > {box}.clientWidth && {box}.classList.contains('wide')")
    assert "scroll" in browser.run(f"getComputedStyle({box}.querySelector('caption'), '::after').content")
    ends = f"[...{box}.querySelectorAll('tbody tr')].map(row => row.cells[1].getBoundingClientRect().right)"
    assert max(browser.run(ends)) <= 400


def test_a_phone_shows_that_a_figure_goes_on(browser: Browser) -> None:
    browser.size(400, 844, phone=True)
    browser.run("document.querySelector('.panels').className = 'panels broad'")
    browser.run("new Promise(done => setTimeout(done, 50))")
    panel = "document.querySelector('.panels.broad > div')"
    assert browser.run(f"{panel}.scrollWidth > {panel}.clientWidth")
    assert "scroll" in browser.run(f"getComputedStyle({panel}, '::before').content")


def test_one_run_fills_the_width(browser: Browser, tmp_path: Path) -> None:
    scores, _ = write_study(tmp_path)
    write_run(tmp_path / "alone", "resnet8", "cutout", 0, 1.0, {"arch": "resnet20", "sha256": "a" * 64})
    dametric.report([scores, str(tmp_path / "alone")], tmp_path / "one.html", resamples=9, quiet=True)
    browser.open((tmp_path / "one.html").as_uri())
    cells = "[...document.querySelectorAll('#table-runs td')].map(cell => cell.getBoundingClientRect().right)"
    assert max(browser.run(cells)) > 0.9 * 1280
    browser.size(400, 844, phone=True)
    assert max(browser.run(cells)) <= 400


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_figures_follow_the_page(browser: Browser, scheme: str, dark: bool) -> None:
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    look = "getComputedStyle(document.querySelector('.panels > div')).filter"
    assert ("invert" in browser.run(look)) == dark
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run(look) == "none"
    browser.call("Emulation.setEmulatedMedia", media="", features=[])


def test_the_page_uses_its_width(browser: Browser) -> None:
    """The answer has its reasons beside it, and the first table or figure ends in the right half."""
    right = "Math.max(...[...document.querySelectorAll('SELECTOR')].map(node => node.getBoundingClientRect().right))"
    for selector in ("#verdict", ".first", "#scatter figure"):
        assert browser.run(right.replace("SELECTOR", selector)) > 0.9 * 1280, selector


def test_every_figure_is_seen_and_has_a_name(browser: Browser) -> None:
    script = """[...document.querySelectorAll("img.chart")].map(image => [
      image.complete && image.naturalWidth > 0, image.alt.length, image.getBoundingClientRect().height])"""
    found = browser.run(script)
    assert len(found) > 6
    for loaded, length, height in found:
        assert loaded
        assert length > 20
        assert height > 60


def test_pictures_and_print_can_be_looked_at(browser: Browser, tmp_path: Path) -> None:
    browser.picture(tmp_path / "page.png")
    browser.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.png").stat().st_size > 100_000
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
