"""The page in a real browser, with the network off."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from pytest_yourai.core.results import RECORDED_WITHOUT_BUDGET

from support.browser import CHROMIUM, DESKTOP, PHONE, new_page, opened
from support.profiles import (
    HOSTILE,
    document,
    failed_only,
    full,
    hostile,
    larger,
    later,
    page_of,
    quick,
    with_failures,
)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    # One Chromium for all of them.
    pytest.mark.xdist_group("browser"),
]

LARGEST_MB = 0.6


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Page:
    """Where all other pages are opened, one after another."""
    return new_page(browser)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are written, each over the one before: a script of one place is compiled once."""
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def twelve(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of twelve configurations, two of which failed; each test leaves it as it was."""
    with opened(
        new_page(browser), page_of(tmp_path_factory.mktemp("twelve"), with_failures())
    ) as found:
        yield found.page
        assert found.complaints == []


def violations(page: Page, context: str | None = None) -> list[str]:
    found: list[dict[str, Any]] = Axe().run(page, context).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


def trial_of(page: Page) -> str:
    return page.locator("#trial").inner_text()


def test_a_page_needs_nothing_else_and_says_the_answer(tab: Page, folder: Path) -> None:
    path = page_of(folder, quick())
    with opened(tab, path) as found:
        answer = found.page.locator("#answer").inner_text()
        best = quick()["all_results"][-1]
        needs, takes = (best[f"{name}_memory_mb"] / 1e3 for name in ("minimum", "peak"))
        for part in (f"{needs:.1f} GB", f"{takes:.1f} GB", "16,384 = 4 × 128 × 32", "110.0 GB"):
            assert part in answer
        assert "yourai train --model llama-8b --profile runs/0.json --weights hub" in answer
        assert found.page.locator(".chart svg:has(.point)").count() == 4
        assert found.requests == [path.as_uri()]
        assert found.complaints == []


def test_a_cell_shows_its_trial_and_focus_comes_back(twelve: Page) -> None:
    cell = twelve.locator("#heat-map").get_by_label(re.compile("batch=2, rank=64, layers=32"))
    cell.click()
    expect(twelve.get_by_role("dialog")).to_be_visible()
    assert "batch=2, rank=64, layers=32" in trial_of(twelve)
    assert "Warm-up steps" in trial_of(twelve)
    twelve.keyboard.press("Escape")
    expect(twelve.locator("#trial")).to_be_hidden()
    expect(cell).to_be_focused()
    failed = twelve.locator("#heat-map .cell.memory")
    failed.focus()
    twelve.keyboard.press("Enter")
    assert "the worker ended: oom <i>" in trial_of(twelve)
    twelve.get_by_role("button", name="Close").click()


def test_a_point_shows_its_trial_and_focus_goes_to_its_cell(twelve: Page) -> None:
    point = twelve.locator("#memory-speed-chart .point").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    twelve.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(twelve.get_by_role("dialog")).to_be_visible()
    name = twelve.locator("#trial-title").inner_text()
    assert name in twelve.locator("#step-times-of").inner_text()
    twelve.keyboard.press("Escape")
    expect(twelve.locator("#heat-map .cell:focus")).to_have_attribute(
        "aria-label", re.compile(re.escape(name))
    )


def test_the_command_is_copied(twelve: Page) -> None:
    twelve.get_by_role("button", name="Copy").first.click()
    expect(twelve.locator("#answer [role=status]").first).to_have_text("Copied")


def test_the_answers_are_marked_and_first(twelve: Page) -> None:
    answers = twelve.locator("#answers tbody tr")
    assert [each.split() for each in answers.all_inner_texts()] == [
        ["▲largest", "3,440", "18.9", "GB", "batch=4,", "rank=128,", "layers=32"],
        ["▶fastest", "▼leanest", "4,833", "11.8", "GB", "batch=4,", "rank=64,", "layers=16"],
    ]
    assert twelve.locator("#heat-map .cell .best").all_inner_texts() == ["▶▼", "▲"]
    ends = [each[0] for each in twelve.locator("#trials tbody tr").all_inner_texts()]
    assert ends == ["✓"] * 10 + ["O", "T"]
    assert twelve.title() == "llama-8b on NVIDIA H200"
    answers.last.click()
    assert "fastest" in trial_of(twelve)
    assert "Growth" not in trial_of(twelve)
    assert re.search(r"Step time \(median\)\s+\d+ ms ± \d+\.\d!? %", trial_of(twelve))
    twelve.keyboard.press("Escape")


def test_the_noise_of_each_row_is_shown(twelve: Page) -> None:
    place = twelve.locator("#trials thead tr > *").all_inner_texts()
    column = next(number for number, each in enumerate(place) if each.startswith("±"))
    cells = twelve.locator(f"#trials tbody td:nth-child({column + 1})").all_inner_texts()
    assert all(re.fullmatch(r"\d+\.\d!?", each) for each in cells[:10])


def test_the_heat_map_shows_memory_speed_and_outcome(twelve: Page) -> None:
    first = twelve.locator("#heat-map .cell").first
    row = with_failures()["all_results"][0]
    expect(first).to_have_text(f"{row['minimum_memory_bytes'] / 1e9:.1f}")
    twelve.get_by_role("button", name="Tokens/s", exact=True).click()
    expect(first).to_have_text(re.compile(r"^4,\d{3}$"))
    twelve.get_by_role("button", name="Outcome", exact=True).click()
    expect(first).to_have_text("✓")
    expect(twelve.locator("#heat-map .cell.memory")).to_contain_text("O")
    expect(twelve.locator("#heat-map .cell.failure")).to_contain_text("T")


def test_the_table_is_sorted_and_filtered_by_keyboard(twelve: Page) -> None:
    head = twelve.locator("#trials th", has_text="Needs")
    head.get_by_role("button").focus()
    twelve.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    place = twelve.locator("#trials thead tr > *").all_inner_texts()
    column = next(number for number, each in enumerate(place) if each.startswith("Needs"))

    def needs() -> list[float]:
        cells = twelve.locator(f"#trials tbody td:nth-child({column + 1})").all_inner_texts()
        return [float(text) for text in cells]

    assert needs() == sorted(needs())
    twelve.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert needs() == sorted(needs(), reverse=True)
    rows = twelve.locator("#trials tbody tr")
    twelve.get_by_label("Outcome").select_option("oom")
    expect(rows).to_have_count(1)
    twelve.get_by_label("Outcome").select_option("")
    twelve.get_by_label("Text").focus()
    twelve.keyboard.type("RANK=64, LAYERS=16")
    expect(rows).to_have_count(3)
    rows.first.focus()
    twelve.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    twelve.keyboard.press("Enter")
    assert "rank=64, layers=16" in trial_of(twelve)
    twelve.keyboard.press("Escape")
    expect(rows.nth(1)).to_be_focused()
    twelve.get_by_label("Text").fill("")


def test_the_better_is_the_stronger_colour_of_the_heat_map(twelve: Page) -> None:
    best = "getComputedStyle(document.querySelector('#heat-map [data-row=\"%s\"]')).backgroundColor"
    rows = twelve.evaluate(
        "JSON.parse(document.getElementById('data').textContent).profiles[0].rows"
    )
    fitting = [index for index, row in enumerate(rows) if row["outcome"] == "ok"]
    for measure, better in (("Memory", -1), ("Tokens/s", 1)):
        twelve.get_by_role("button", name=measure, exact=True).click()
        key = "minimum_memory_bytes" if measure == "Memory" else "tokens_per_second"
        ranked = sorted(fitting, key=lambda index: better * rows[index][key])
        assert twelve.evaluate(best % ranked[-1]) == "rgb(18, 84, 166)"
        assert twelve.evaluate(best % ranked[0]) == "rgb(232, 238, 246)"
    twelve.get_by_role("button", name="Memory", exact=True).click()


def test_the_theme_is_switched(twelve: Page) -> None:
    def background() -> str:
        return str(twelve.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    twelve.get_by_role("button", name="Dark theme").click()
    assert background() != light
    twelve.get_by_role("button", name="Light theme").click()
    assert background() == light


@pytest.mark.parametrize(
    ("size", "theme"),
    [
        (DESKTOP, "light"),
        (PHONE, "dark"),
        # Colours depend on the theme alone, and places on the size.
        pytest.param(DESKTOP, "dark", marks=pytest.mark.nightly),
        pytest.param(PHONE, "light", marks=pytest.mark.nightly),
    ],
)
def test_everybody_can_read_it(
    tab: Page, folder: Path, size: tuple[int, int], theme: Literal["light", "dark"]
) -> None:
    path = page_of(folder, later(1, "0.31.0", 1.4), with_failures())
    with opened(tab, path, size, theme) as found:
        page = found.page
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for column in ("Needs", "Speed"):
            head = page.locator("#trials thead th", has_text=column).bounding_box()
            assert head is not None
            assert head["x"] + head["width"] <= size[0]
        problems = violations(page)
        page.locator("#heat-map .cell.memory").click()
        problems += violations(page, "#trial")
        print(f"{size[0]} px, {theme}: {len(problems)} violations")
        assert problems == []


def test_what_a_profile_says_is_text(tab: Page, folder: Path) -> None:
    path = page_of(folder, hostile(), hostile())
    with opened(tab, path) as found:
        page = found.page
        page.locator("#heat-map .cell").first.click()
        assert HOSTILE in trial_of(page)
        assert HOSTILE in page.locator("#about").inner_text()
        assert HOSTILE in page.locator("#answer").inner_text()
        page.keyboard.press("Escape")
        page.locator("#memory-speed-chart .point[style*=warn]").first.hover(force=True)
        assert HOSTILE in page.locator(".tip:visible").inner_text()
        assert page.locator("img, iframe, main b, main i").count() == 0
        assert page.locator("script").count() == 2
        assert found.requests == [path.as_uri()]
        assert found.complaints == []


def test_where_nothing_fits_it_says_why(tab: Page, folder: Path) -> None:
    with opened(tab, page_of(folder, failed_only())) as found:
        answer = found.page.locator("#answer").inner_text()
        assert "No configuration fits" in answer
        assert "its minimum is over the budget" in answer
        assert found.page.locator("#trials tbody tr").count() == 12
        assert violations(found.page) == []
        assert found.complaints == []


def test_a_peak_that_was_recorded_without_the_budget_is_marked_so(tab: Page, folder: Path) -> None:
    replayed = document(lambda found: found.update(memory_limit_gb=14))
    for row in replayed["all_results"]:
        row["memory_limit_gb"] = 14
        if row["peak_memory_mb"] > 14_000:
            row["warnings"] = [RECORDED_WITHOUT_BUDGET]
    with opened(tab, page_of(folder, replayed)) as found:
        page = found.page
        assert "over the budget" not in page.locator("#trials").inner_text()
        marked = page.locator("#trials .over").first
        assert marked.get_attribute("title") == "recorded without this budget"
        marked.click()
        assert "GB, recorded without this budget" in trial_of(page)


def test_a_history_and_its_comparisons(tab: Page, folder: Path) -> None:
    runs = [later(7, "0.31.0", 1.0), later(8, "0.32.0", 1.01), later(9, "0.32.0", 1.6)]
    with opened(tab, page_of(folder, *runs)) as found:
        page = found.page
        rows = page.locator("#history tbody tr").all_inner_texts()
        assert ["(new)" in each for each in rows] == [False, True, False]
        summaries = page.locator("#comparison summary").all_inner_texts()
        assert "no regression" in summaries[0]
        assert re.search(r"\d+ regressions", summaries[1])
        page.locator("#comparison summary").last.click()
        # It is written when the browser reports that it was opened, which is after the click.
        expect(page.locator("#comparison")).to_contain_text("mlx 0.31.0, now 0.32.0")
        page.get_by_label("Profile", exact=True).select_option("0")
        expect(page.locator("#answer")).to_contain_text("1 Jul 2026")
        page.wait_for_selector("html[data-ready]")
        assert violations(page) == []
        assert found.complaints == []


def test_three_whole_matrices_are_one_page(tab: Page, folder: Path) -> None:
    path = page_of(folder, full(1), full(2), full(3))
    size_mb = path.stat().st_size / 1e6
    with opened(tab, path) as found:
        assert found.page.locator("#trials tbody tr").count() == 80
        assert found.page.locator("#heat-map .cell").count() == 80
        print(json.dumps({"size_mb": round(size_mb, 2), "load_s": round(found.load_s, 2)}))
        assert size_mb < LARGEST_MB
        assert found.complaints == []


def test_a_trial_without_measured_steps_has_no_median(tab: Page, folder: Path) -> None:
    document = with_failures()
    for row in document["all_results"]:
        if row["outcome"] == "timeout":
            row.update(step_times_s=[], step_tokens=[], step_time_ms=None)
    with opened(tab, page_of(folder, document)) as found:
        chart = found.page.locator("#step-times-chart")
        expect(chart.locator(".rule")).to_have_count(1)
        found.page.locator("#heat-map .cell.failure").click()
        expect(chart.locator(".rule")).to_have_count(0)
        said = found.page.locator("#step-times-of").inner_text()
        assert re.search(r"ended after \d+ warm-up steps, before any was measured", said)
        assert found.complaints == []


def test_with_accumulated_gradients_the_time_of_an_update_is_shown(tab: Page, folder: Path) -> None:
    document = quick()
    for row in document["all_results"]:
        row["grad_accumulation_steps"] = 5
    with opened(tab, page_of(folder, document)) as found:
        assert "Update" in found.page.locator("#answer").inner_text()
        headings = found.page.locator("#trials thead th").all_inner_texts()
        assert [each.split()[0] for each in headings].count("Update") == 1
        found.page.locator("#heat-map .cell").first.click()
        assert "Update time (median)" in trial_of(found.page)
        assert found.complaints == []


def test_what_is_pointed_at_is_told(twelve: Page) -> None:
    name = re.compile(
        r"batch=\d+, rank=\d+, layers=\d+\s*needs \d+\.\d GB, [\d,]+ tokens/s, \d+ ms a step"
    )
    tip = twelve.locator(".tip:visible")
    twelve.locator("#memory-speed-chart .point").first.hover(force=True)
    expect(tip).to_have_text(name)
    twelve.locator("#step-times-chart rect.point").last.hover(force=True)
    expect(tip).to_have_text(re.compile(r"^step 10: \d+ ms$"))
    twelve.locator("#prediction-chart path.point").first.hover(force=True)
    expect(tip).to_contain_text(re.compile(r"predicted .* GB, measured .* GB"))
    twelve.locator("#title").hover()
    expect(tip).to_have_count(0)


def test_axes_have_round_numbers_and_a_title(twelve: Page) -> None:
    texts = twelve.locator("#memory-speed-chart svg text").all_text_contents()
    assert {"minimum memory, GB", "tokens per second", "0", "1,000", "▲ largest"} <= set(texts)
    steps = twelve.locator("#step-times-chart svg text").all_text_contents()
    assert [*map(str, range(1, 11))] == [each for each in steps if each in map(str, range(1, 11))][
        -10:
    ]


def test_a_chart_takes_the_colours_of_the_theme_and_the_width_that_it_has(
    tab: Page, folder: Path
) -> None:
    colour = "getComputedStyle(document.querySelector('#step-times-chart rect')).fill"
    with opened(tab, page_of(folder, quick())) as found:
        page = found.page
        light = page.evaluate(colour)
        page.get_by_role("button", name="Dark theme").click()
        assert page.evaluate(colour) != light
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        picture = page.locator("#memory-speed-chart .plot svg")
        expect(picture).to_have_attribute("viewBox", re.compile(r"^0 0 [23]\d\d "))
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        assert found.complaints == []


def test_versions_with_odd_names_are_text(tab: Page, folder: Path) -> None:
    odd = later(2, "0.1", 1.0)
    odd["environment"]["versions"] = {"constructor": "1", "__proto__": "2"}
    with opened(tab, page_of(folder, later(1, "0.1", 1.0), odd)) as found:
        assert "native code" not in found.page.locator("#history").inner_text()
        assert found.complaints == []


def test_the_narrowest_telephone_has_room_for_whatever_a_profile_says(
    tab: Page, folder: Path
) -> None:
    with opened(tab, page_of(folder, hostile()), (320, 640)) as found:
        assert found.page.evaluate("document.documentElement.scrollWidth") <= 320


def test_paper_keeps_the_colours_that_tell_something(twelve: Page) -> None:
    twelve.emulate_media(media="print")
    printed = "getComputedStyle(document.querySelector('.cell')).printColorAdjust"
    assert twelve.evaluate(printed) == "exact"
    twelve.emulate_media(media="screen")


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (1, r"\d+ Jul, \d\d:00"),
        (30, r"\d+ (Jul|Aug)"),
        (24 * 45, "(Jul|Aug|Sep|Oct|Nov|Dec) 2026"),
        (24 * 365, "20[23]\\d"),
    ],
)
def test_a_history_has_the_dates_of_its_length(
    tab: Page, folder: Path, hours: int, expected: str
) -> None:
    runs = [later(7, "0.31.0", 1.0) for _ in range(4)]
    first = datetime.datetime.fromisoformat(runs[0]["created_at"])
    for place, run in enumerate(runs):
        run["created_at"] = (first + datetime.timedelta(hours=hours * place)).isoformat()
    with opened(tab, page_of(folder, *runs)) as found:
        texts = found.page.locator("#history-0-memory svg text").all_text_contents()
        dates = [each for each in texts if re.fullmatch(expected, each)]
        assert 2 <= len(dates) <= 5
        assert found.complaints == []


def test_models_of_several_files_are_distinguished(tab: Page, folder: Path) -> None:
    other = {**quick(), "model": "other"}
    with opened(tab, page_of(folder, quick(), later(7, "0.1", 1.0), other)) as found:
        rows = found.page.locator("#of-models tbody tr").all_inner_texts()
        assert ["runs/0.json" in rows[0], "runs/1.json" in rows[1]] == [True, True]
        assert violations(found.page) == []


def test_models_of_all_sizes_have_their_memory_in_one_unit(tab: Page, folder: Path) -> None:
    small = {**document(larger(0.02)), "model": "small", "memory_limit_gb": 0.5}
    with opened(tab, page_of(folder, quick(), small)) as found:
        rows = found.page.locator("#of-models tbody tr").all_inner_texts()
        units = [set(re.findall(r"[kMG]B", row)) for row in rows]
        assert units == [{"GB"}, {"GB"}]
