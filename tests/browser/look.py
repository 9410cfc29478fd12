"""Open a page in Chromium as a reader would, and print as JSON what was seen.

A script of its own, since the browser's driver is not installed with the tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Both are in an environment of their own.
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-not-found] # ty: ignore[import-not-found]
from playwright.sync_api import (  # type: ignore[import-not-found] # ty: ignore[import-not-found]
    Browser,
    Dialog,
    Page,
    sync_playwright,
)

SCREENS = {"desktop": (1280, 900), "phone": (360, 780)}
SCHEMES = ("light", "dark")

CHARTS = """() => [...document.querySelectorAll(".chart")].map((chart) => {
  const svg = [...chart.querySelectorAll("svg")].filter((one) => one.getClientRects().length);
  const marks = svg.flatMap((one) => [...one.querySelectorAll("title")].map((t) => t.parentNode));
  const box = svg.length === 1 ? svg[0].getBoundingClientRect() : { width: 0, height: 0 };
  const drawn = marks.filter((mark) => {
    const { width, height } = mark.getBoundingClientRect();
    return width + height > 0 && getComputedStyle(mark).fill !== "rgb(0, 0, 0)";
  });
  return {
    label: chart.getAttribute("aria-label"), shown: svg.length, width: box.width,
    height: box.height, marks: marks.length, drawn: drawn.length,
  };
})"""
OVERFLOW = """() => {
  const root = document.documentElement;
  return root.scrollWidth - root.clientWidth;
}"""
# Rows are all alike, and so are marks: a few of each are enough, and axe takes its time for each.
SHORTEN = """() => {
  for (const body of document.querySelectorAll("tbody")) {
    for (const row of [...body.rows].slice(3)) row.remove();
  }
  for (const title of [...document.querySelectorAll("svg title")].slice(9)) {
    title.parentNode.remove();
  }
}"""
TEXTS = "(row) => row.map((one) => one.innerText)"


def look(browser: Browser, path: Path, shots: Path) -> list[dict[str, Any]]:
    """Look at the page on each screen, light and dark."""
    return [
        look_once(browser, path, shots, screen, scheme) for screen in SCREENS for scheme in SCHEMES
    ]


def look_once(
    browser: Browser, path: Path, shots: Path, screen: str, scheme: str
) -> dict[str, Any]:
    """Look at the page on one screen."""
    width, height = SCREENS[screen]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        is_mobile=screen == "phone",
        has_touch=screen == "phone",
        reduced_motion="reduce",
    )
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", refuse)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.screenshot(path=shots / f"{screen}-{scheme}.png")
    seen = {
        "screen": screen,
        "scheme": scheme,
        "overflow": page.evaluate(OVERFLOW),
        "background": page.evaluate("getComputedStyle(document.body).backgroundColor"),
        "charts": page.evaluate(CHARTS),
        "keyboard": press_tab(page),
        "table": try_table(page),
    }
    # What is folded has to be good as well.
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    seen["overflow_unfolded"] = page.evaluate(OVERFLOW)
    page.evaluate(SHORTEN)
    violations = Axe().run(page).response["violations"]
    seen["axe"] = [
        {"rule": one["id"], "nodes": [node["html"][:300] for node in one["nodes"][:3]]}
        for one in violations
    ]
    page.emulate_media(media="print")
    seen["printed_filters"] = page.locator(".filter:visible").count()
    context.close()
    return seen | {"said": said, "asked": asked}


def try_table(page: Page) -> dict[str, Any]:
    """Filter and sort the first table that can be filtered, without a mouse."""
    field = page.locator(".data > .filter input").first
    name = field.get_attribute("data-filters")
    rows = page.locator(f"#{name} tbody tr")
    visible = page.locator(f"#{name} tbody tr:visible")
    before = rows.count()
    word = rows.nth(before - 1).locator("th").inner_text()
    field.fill(word.upper())
    found = {"word": word, "rows": visible.evaluate_all(TEXTS), "says": says(page, name)}
    field.fill("no such word")
    nothing = visible.count()
    field.fill("")
    orders = []
    for _ in range(2):
        button = page.locator(f"#{name} thead button").first
        button.focus()
        button.press("Enter")
        orders.append(
            {
                "says": page.locator(f"#{name} thead th").first.get_attribute("aria-sort"),
                "values": page.locator(f"#{name} tbody th").evaluate_all(TEXTS),
            }
        )
    return {"before": before, "found": found, "nothing": nothing, "orders": orders}


def says(page: Page, name: str | None) -> str:
    """Give what the filter says of itself."""
    return str(page.locator(f"output[for={name}-filter]").inner_text())


def press_tab(page: Page) -> list[str]:
    """Give what the first steps of the keyboard lead to."""
    steps = []
    for _ in range(3):
        page.keyboard.press("Tab")
        steps.append(page.evaluate("document.activeElement.innerText"))
    return steps


def main() -> None:
    """Look at the page that is named first, with the browser that is named second."""
    path, executable, shots = map(Path, sys.argv[1:])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            # Root has no sandbox, and the page is our own; a container may have little /dev/shm.
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        seen = look(browser, path, shots)
        browser.close()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
