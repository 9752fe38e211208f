"""Time the page of a model in Chromium: opening it, then its first and its median prediction.

Untrained weights take as long as trained ones.
"""

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from playwright.sync_api import sync_playwright

import kit

SIZES = [(16, 600), (64, 7500)]  # channels, neurons: a sample mouse, a mouse of 2022
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
TIMES = """() => {
  const times = [];
  for (let i = 0; i < 50; i++) {
    sliders[0].value = 5 * (i % 36);
    const before = performance.now();
    update();
    times.push(performance.now() - before);
  }
  return times;
}"""


def write(folder, channels, neurons):
    places = np.random.default_rng(0).uniform(0, 616, (neurons, 2))
    config = kit.ModelConfig(behavior_channels=True, shifter=True, gain=True)
    core = kit.layers.ConvCore(channels, config.core_channels)
    twin = kit.Model(core, {"mouse": places}, config)
    return kit.lab.page(twin, Path(folder) / "twin.html")


def timed(browser, path):
    """Milliseconds until the page shows responses, and those of fifty more stimuli."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    before = time.perf_counter()
    page.goto(path.as_uri())
    page.locator("#sentence", has_text="responds most").wait_for()
    opened = 1000 * (time.perf_counter() - before)
    times = page.evaluate(TIMES)
    page.close()
    return opened, times


def main():
    binary = next(filter(None, map(shutil.which, BROWSERS)))
    print("channels  neurons      kB  opened ms  median ms  slowest ms")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        for channels, neurons in SIZES:
            path = write(folder, channels, neurons)
            opened, times = timed(browser, path)
            size = path.stat().st_size / 1000
            print(f"{channels:8} {neurons:8} {size:7.0f} {opened:10.0f} {median(times):10.1f} "
                  f"{max(times):11.1f}")  # fmt: skip
        browser.close()


if __name__ == "__main__":
    main()
