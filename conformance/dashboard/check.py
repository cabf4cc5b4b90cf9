"""Looks at the dashboard as a person would: signs in, watches a twin, reads plots out, zooms, signs out."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from selenium.common.exceptions import ElementNotInteractableException, StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "chromium"))
from page import Skip, browser, check, failed, passed, skipped  # noqa: E402

WIDTH, HEIGHT = 1320, 900
PATIENCE = 20  # seconds
GROWTH_PATIENCE = 60


class Look:
    def __init__(self, driver, url, twin):
        self.driver, self.url, self.twin = driver, url.rstrip("/"), twin
        self.page = f"{self.url}/ui/twins/{twin}"

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, selector, *keys):
        self.act(selector, lambda element: element.send_keys(*keys))

    def click(self, selector):
        self.act(selector, lambda element: element.click())

    def act(self, selector, what):
        """Does something with an element; once more when the page exchanged it between finding and doing."""
        for _ in range(20):
            try:
                return what(self.one(selector))
            except (ElementNotInteractableException, StaleElementReferenceException):
                time.sleep(0.05)
        raise AssertionError(f"{selector} does not stay")

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, what, test, patience=PATIENCE):
        try:
            return WebDriverWait(self.driver, patience, poll_frequency=0.1).until(lambda _: test())
        except Exception as error:
            raise AssertionError(f"not within {patience} s: {what}") from error

    def points(self):
        return len(self.driver.find_elements(By.CSS_SELECTOR, "svg.record circle.observed"))

    def window(self):
        # One step in the page, so that an exchange of the part cannot come in between.
        return tuple(self.js("const d = document.querySelector('svg.record').dataset; return [d.from, d.to]"))

    def mark(self):
        self.js("window.stillTheSamePage = true")

    def assert_not_reloaded(self):
        assert self.js("return window.stillTheSamePage === true"), "the page was loaded again"

    def complaints(self):
        """Console errors; what the browser itself logs for a refused page (401) is what we asked for."""
        logged = [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [entry["message"] for entry in logged if "401" not in entry["message"]]


def headers_are_strict(look):
    try:
        answer = urllib.request.urlopen(look.url + "/ui")
    except urllib.error.HTTPError as refused:
        answer = refused
    assert answer.status == 401, answer.status
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"


def sign_in(look, login):
    # What a program does that only looks at links.
    for _ in range(2):
        urllib.request.urlopen(login).read()
    look.driver.get(login)
    look.one("button.primary").click()
    look.until("signed in", lambda: look.driver.current_url.rstrip("/") == look.url + "/ui")
    look.until("the engine page", lambda: look.one("#twins"))
    cookies = look.driver.execute_cdp_cmd("Network.getCookies", {"urls": [look.url + "/ui"]})["cookies"]
    assert cookies and all(c["httpOnly"] and c["sameSite"] == "Lax" for c in cookies), cookies


def engine_page(look):
    look.driver.get(look.url + "/ui")
    look.until("the twin in the list", lambda: look.js("return !!document.querySelector('#twins a')"))
    assert int(look.js("return document.querySelector('#position').textContent").replace("\u2009", "")) >= 0
    look.click(f"#twins a[href='/ui/twins/{look.twin}']")
    look.until("the twin's page", lambda: look.driver.current_url.startswith(look.page))


def plots(look):
    look.driver.get(look.page)
    # An engine that has only just begun has no forecasts of this lead yet; the page takes them in by itself.
    look.until("bands", lambda: look.js("return [...document.querySelectorAll('svg.record path.band')].filter(p => p.getAttribute('d')).length === 2"))
    look.until("lineage", lambda: look.js("return !!document.querySelector('svg.lineage .activity')"))
    said = []
    for kind in ("newest", "record"):
        size = look.act(f"svg.{kind}", lambda plot: plot.size)
        assert size["width"] > 400 and size["height"] > 150, (kind, size)
        said.append(f"{kind} {size['width']:.0f}×{size['height']:.0f}")
    return f"{', '.join(said)}, {look.points()} points"


def grows(look, must):
    look.driver.get(look.page)
    look.mark()
    look.until("the page is live", lambda: look.one("#live").text == "live")
    before = look.points()
    try:
        look.until("more points", lambda: look.points() > before, GROWTH_PATIENCE if must else 10)
    except AssertionError:
        if must:
            raise
        raise Skip("no observation arrives now") from None
    look.assert_not_reloaded()
    # However much happens, the page asks at most about four times a second.
    count = "return performance.getEntriesByType('resource').filter(e => e.name.includes('/fragment')).length"
    asked, seconds = look.js(count), 5
    time.sleep(seconds)
    rate = (look.js(count) - asked) / seconds
    assert rate <= 5, f"{rate} requests a second"
    look.assert_not_reloaded()
    return f"{before} to {look.points()} points, {rate:.1f} requests a second"


def reads_out(look):
    look.driver.get(look.page)
    look.js("document.querySelector('svg.newest').scrollIntoView({block: 'center'})")
    look.act("svg.newest", lambda plot: ActionChains(look.driver).move_to_element(plot).perform())
    text = look.until("a read-out", lambda: look.js("const b = document.querySelector('#newest .readout.on'); return b && b.textContent"))
    assert "observed" in text or "forecast" in text, text
    look.press("svg.record", Keys.ARROW_LEFT)
    first = look.until("a read-out", lambda: look.js("const b = document.querySelector('#record .readout.on'); return b && b.textContent"))
    look.press("svg.record", Keys.ARROW_LEFT)
    second = look.js("return document.querySelector('#record .readout.on').textContent")
    assert first != second, first
    return first.splitlines()[0]


def zooms(look):
    look.driver.get(look.page)
    look.mark()
    whole = look.window()
    look.press("svg.record", "+")
    # The end moves by itself while data arrive; the beginning moves by zooming only.
    look.until("a narrower window", lambda: look.window()[0] > whole[0])
    near = look.window()
    assert "from=" in look.driver.current_url
    look.until("the plot keeps the focus", lambda: look.js("return document.activeElement === document.querySelector('svg.record')"))
    look.press("svg.record", Keys.SHIFT, Keys.ARROW_LEFT)
    look.until("moved", lambda: look.window()[0] < near[0])
    ActionChains(look.driver).key_up(Keys.SHIFT).perform()
    look.press("svg.record", "0")
    look.until("the whole again", lambda: look.window()[0] == whole[0] and "from=" not in look.driver.current_url)
    look.assert_not_reloaded()
    return f"{whole[0]}–{whole[1]} to {near[0]}–{near[1]}"


def chooses_a_lead(look):
    look.driver.get(look.page)
    look.mark()
    chosen = look.js("const a = document.querySelector('#record [data-set^=\"lead=\"]:not([aria-current])'); return a && a.dataset.set")
    if not chosen:
        raise Skip("there is one lead only")
    look.click(f"#record [data-set='{chosen}']")
    look.until("another lead", lambda: look.js("const a = document.querySelector('#record [aria-current][data-set^=lead]'); return a && a.dataset.set") == chosen)
    look.assert_not_reloaded()
    return chosen


def console_in_a_pod(look):
    program = [os.environ["DTE_BIN"], "run", "--url", os.environ["DTE_URL"], "--data-dir", os.environ["DTE_DATA_DIR"] + "/data", "--json"]
    started = subprocess.run([*program, "--detach", "consoled", "--", "/bin/sh", "-c", "while echo tick; do sleep 1; done"], capture_output=True, text=True, check=True)
    uid = json.loads(started.stdout)["uid"]
    look.driver.get(f"{look.url}/ui/pods/{uid}")
    look.until("the pod runs", lambda: look.js("return document.querySelector('#head .state')?.textContent.includes('Running')"), 60)
    written = lambda: look.js("return document.querySelector('#console pre').textContent")
    said = lambda: look.js("return document.querySelector('#console [role=status]').textContent")

    def run(command):
        look.js("document.querySelector('#console [name=command]').value = arguments[0]", command)
        look.click("#console .start button")

    run("/bin/sh")
    look.until("a shell", lambda: said() == "running")
    look.press("#console [name=line]", "here=$((6 * 7))", Keys.ENTER)
    look.press("#console [name=line]", "echo it is $here; echo oops >&2; cat", Keys.ENTER)
    look.until("what it writes", lambda: "it is 42\n" in written() and "oops\n" in written())
    assert look.js("return document.querySelector('#console .err').textContent") == "oops\n"
    look.press("#console [name=line]", "<b>bold</b> ä", Keys.ENTER)
    look.until("the echo", lambda: written().count("<b>bold</b> ä\n") == 2)
    look.click("#console [name=eof]")
    look.until("its end", lambda: said() == "It has ended.")
    run("/bin/false")
    look.until("the exit code", lambda: said().endswith("exit code: 1"))
    run("/no/such/program")
    why = look.until("why not", lambda: not said().endswith("exit code: 1") and said() not in ("connecting", "running") and said())
    # The page goes on being live beside it.
    ticks = lambda: look.js("return document.querySelector('#log pre').textContent.length")
    before = ticks()
    look.until("more of the log", lambda: ticks() > before)
    return why


def is_quiet(look):
    complaints = look.complaints()
    assert not complaints, complaints


def works_without_scripts(look):
    look.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look.driver.get(look.page)
        # Nothing is asked of the page's own scripts here: the document as the browser has parsed it.
        source = look.driver.page_source
        assert "plot record" in source and source.count("circle class=\"observed\"") > 12
        look.click("#record [data-set='scale=value']")
        look.until("the link leads there", lambda: "scale=value" in look.driver.current_url)
        assert look.one("#record [data-set='scale=value']").get_attribute("aria-current") == "true"
        assert look.one("#live").text == "", "no claim to be live"
        titles = look.driver.find_elements(By.CSS_SELECTOR, "svg.record .columns rect title")
        assert titles, "tool tips"
    finally:
        look.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def takes_a_picture(look, path):
    if not path:
        raise Skip("no --screenshot")
    look.driver.get(look.page)
    look.until("the page is live", lambda: look.one("#live").text == "live")
    height = look.js("return document.documentElement.scrollHeight")
    look.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False})
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    stem, extension = os.path.splitext(path)
    for scheme, file in (("light", path), ("dark", f"{stem}-dark{extension}")):
        look.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        time.sleep(0.5)
        assert look.driver.save_screenshot(file), file
    look.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return f"{WIDTH}×{height}"


def signs_out(look):
    look.driver.get(look.url + "/ui")
    look.click("form.who button")
    try:
        look.until("signed out", lambda: look.driver.current_url.endswith("/ui/login"))
    except AssertionError as late:
        raise AssertionError(f"{late}; at {look.driver.current_url}: {look.one('main').text[:200]!r}") from None
    look.driver.get(look.page)
    assert "Sign in" in look.one("h1").text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default=os.environ.get("DTE_URL"))
    parser.add_argument("--login", default=os.environ.get("DTE_LOGIN"))
    parser.add_argument("--twin", default="enso")
    parser.add_argument("--screenshot")
    parser.add_argument("--growing", action="store_true")
    given = parser.parse_args()
    if not given.url or not given.login:
        parser.error("--url and --login (or DTE_URL and DTE_LOGIN) are needed")
    # The session belongs to the host in the link.
    link = urlsplit(given.login)
    url = f"{link.scheme}://{link.netloc}" if link.netloc else given.url
    profile = tempfile.mkdtemp(prefix="dte-chromium-")
    driver = browser(profile, WIDTH, HEIGHT)
    try:
        look = Look(driver, url, given.twin)
        check("headers are strict", lambda: headers_are_strict(look))
        check("a login link signs in, and looking at it does not use it up", lambda: sign_in(look, given.login))
        check("the engine page leads to the twin", lambda: engine_page(look))
        check("plots and lineage are there", lambda: plots(look))
        check("it grows while data arrive, without a reload", lambda: grows(look, given.growing))
        check("pointer and arrow keys read out", lambda: reads_out(look))
        check("keys zoom and move", lambda: zooms(look))
        check("choosing a lead needs no reload", lambda: chooses_a_lead(look))
        check("a program in a pod, line by line", lambda: console_in_a_pod(look))
        check("a picture", lambda: takes_a_picture(look, given.screenshot))
        check("no console error", lambda: is_quiet(look))
        check("it works without JavaScript", lambda: works_without_scripts(look))
        check("signing out", lambda: signs_out(look))
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
    print(f"{len(passed)} passed, {len(failed)} failed" + (f", {len(skipped)} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
