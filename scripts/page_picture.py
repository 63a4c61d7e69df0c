"""Draw docs/page.png: the page of a run as a browser shows it, with numbers that docs/outputs.md explains.

python scripts/page_picture.py demo/head/scan_focvs.html [--output docs/page.png]

Wants selenium, with Chromium and its driver.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from focvs.files import write_atomically

# what is pointed at, in the order of the numbers, and where on it, in shares of its size
PARTS = (
    (".warnings, .fine", 0.97, 0.5),
    (".layers label:last-child", 0.5, 1.2),
    (".flicker", 0.5, 1.2),
    (".planes > :first-child", 0.5, 0.5),
    (".planes > :last-child", 0.70, 0.96),
    (".readout", 1.03, 0.5),
)
RADIUS = 13


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/page.png"))
    options = parser.parse_args()
    choices = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1300,1000", "--hide-scrollbars"):
        choices.add_argument(word)
    with webdriver.Chrome(options=choices) as browser:
        browser.get(options.page.resolve().as_uri())
        WebDriverWait(browser, 30).until(lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer[data-ready=true]"))
        found = [(browser.find_elements(By.CSS_SELECTOR, name), x, y) for name, x, y in PARTS]
        places = [(e[0].rect, x, y) for e, x, y in found if e]
        image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    for number, (box, x, y) in enumerate(places, start=1):
        at = (box["x"] + x * box["width"], box["y"] + y * box["height"])
        draw.circle(at, RADIUS, fill="#c2410c", outline="white", width=2)
        draw.text(at, str(number), fill="white", font=font, anchor="mm")
    write_atomically(options.output, ".png", lambda path: image.quantize(256).save(path, optimize=True))


if __name__ == "__main__":
    main()
