"""What checks of pages share: a headless Chromium, and a list of what passed, failed or was left out."""

import shutil
import traceback

from selenium import webdriver
from selenium.common.exceptions import WebDriverException

passed, failed, skipped = [], [], []


class Skip(Exception):
    """A check that has nothing to look at here; says why."""


def check(name, run):
    try:
        said = run()
    except Skip as reason:
        skipped.append(name)
        print(f"SKIPPED {name}: {reason}", flush=True)
        return
    except Exception as error:  # noqa: BLE001 - any failure of a check is a failed check
        failed.append(name)
        text = str(error).strip().splitlines() or [type(error).__name__]
        print(f"FAILED  {name}: {text[0]}", flush=True)
        if not isinstance(error, (AssertionError, WebDriverException)):
            traceback.print_exc()
        return
    passed.append(name)
    print(f"passed  {name}" + (f" ({said})" if said else ""), flush=True)


def browser(profile, width, height):
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)
