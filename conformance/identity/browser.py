"""Uses identity's pages as a person would who has no mouse: every step here is keys. Passwords come in the environment."""

import argparse
import base64
import hashlib
import hmac
import os
import shutil
import struct
import sys
import tempfile
import time
from urllib.parse import urlsplit

from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "chromium"))
from page import browser, check, failed, passed  # noqa: E402

WIDTH, HEIGHT = 1000, 900
PATIENCE = 20  # seconds
MOST_TABS = 80
USER = "browser-user"


def code(key, steps=0):
    """RFC 6238 by the standard library alone, so that nothing of the engine checks itself."""
    secret = base64.b32decode(key + "=" * (-len(key) % 8))
    digest = hmac.new(secret, struct.pack(">Q", int(time.time()) // 30 + steps), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start:start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


class Person:
    def __init__(self, driver, url):
        self.driver, self.url = driver, url.rstrip("/")

    def go(self, path):
        self.driver.get(self.url + path)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        return self.one(selector).text

    def has(self, selector):
        return bool(self.driver.find_elements(By.CSS_SELECTOR, selector))

    @property
    def path(self):
        parts = urlsplit(self.driver.current_url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def until(self, what, test, patience=PATIENCE):
        def holds(_):
            try:
                return test()
            except (StaleElementReferenceException, WebDriverException):
                return False

        try:
            return WebDriverWait(self.driver, patience, poll_frequency=0.1).until(holds)
        except Exception as error:
            raise AssertionError(f"not within {patience} s: {what}; at {self.path}: {self.text('main')[:200]!r}") from error

    def keys(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def is_on(self, selector):
        return self.driver.execute_script("return document.activeElement.matches(arguments[0])", selector)

    def tab_to(self, selector):
        """Comes to something as people without a mouse do, and nowhere without a visible focus."""
        if self.is_on(selector):
            return
        for _ in range(MOST_TABS):
            self.keys(Keys.TAB)
            if self.is_on(selector):
                width = self.driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
                assert width != "none", f"the focus on {selector} cannot be seen"
                return
        raise AssertionError(f"no way to {selector} by the tabulator at {self.path}")

    def type_into(self, selector, text):
        self.tab_to(selector)
        self.keys(text)

    def press(self, selector, key=Keys.ENTER):
        """Presses a button or link, and waits until another page is there."""
        self.tab_to(selector)
        here = self.one("html")
        self.keys(key)

        def is_gone():
            try:
                here.is_enabled()
                return False
            except StaleElementReferenceException:
                return True

        self.until(f"{selector} does something", is_gone)
        self.until("the page is there", lambda: self.driver.execute_script("return document.readyState") == "complete")

    def complaints(self):
        """Console errors; that the browser itself notes refused forms (403, 422, 429) is what we asked for."""
        logged = [entry for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]
        return [e["message"] for e in logged if not any(f"status of {status}" in e["message"] for status in (401, 403, 422, 429))]

    def sign_in(self, name, password, next_path="/oidc/account"):
        self.go(f"/oidc/login?next={next_path}")
        assert self.is_on("#name"), "the first field has the focus"
        self.keys(name)
        self.keys(Keys.TAB)
        assert self.is_on("#password"), "then the password"
        self.keys(password)
        self.press("main button.primary")

    def sign_out(self):
        self.press("form.who button")
        assert self.path == "/oidc/login", self.path


def labels(person):
    """Every field has a label that is seen, every button a name."""
    nameless = person.driver.execute_script(
        "return [...document.querySelectorAll('input:not([type=hidden]), select')].filter(f => !f.labels || !f.labels.length)"
        ".concat([...document.querySelectorAll('button')].filter(b => !(b.textContent.trim() || b.ariaLabel))).map(e => e.outerHTML)"
    )
    assert not nameless, nameless
    assert person.driver.execute_script("return document.documentElement.lang") == "en"
    assert len(person.driver.find_elements(By.TAG_NAME, "h1")) == 1


def dashboard_leads_here(person):
    person.go("/ui")
    person.press("a[href^='/oidc/login']")
    assert person.path == "/oidc/login?next=/ui", person.path
    labels(person)
    for field, wanted in (("#name", "username"), ("#password", "current-password")):
        assert person.one(field).get_attribute("autocomplete") == wanted


def wrong_password(person):
    person.sign_in(USER, "not the password")
    assert person.text("[role=alert]") == "The name or the password is not right.", person.text("[role=alert]")
    assert person.is_on("#password") and person.one("#name").get_attribute("value") == USER
    person.sign_in("nobody-here", "not the password")
    assert person.text("[role=alert]") == "The name or the password is not right."
    person.go("/oidc/account")
    assert person.path.startswith("/oidc/login?next="), person.path


def password(person, secret):
    person.sign_in(USER, secret)
    assert person.path == "/oidc/account", person.path
    labels(person)
    cookies = person.driver.execute_cdp_cmd("Network.getCookies", {"urls": [person.url + "/ui"]})["cookies"]
    assert len(cookies) >= 3 and all(c["httpOnly"] and c["sameSite"] == "Lax" for c in cookies), cookies
    person.go("/ui")
    person.press("a[href='/oidc/account']")
    assert USER in person.text("main")
    return f"{len(cookies)} cookies"


def second_factor(person, secret):
    person.type_into("#factor-current", secret)
    person.press("form[action='/oidc/account/second-factor'] button", Keys.SPACE)
    labels(person)
    size = person.one("svg.qr").size
    assert size["width"] > 150, size
    key = person.text("#key").replace(" ", "")
    person.type_into("#code", "000000")
    person.press("button.primary")
    assert "not right" in person.text("[role=alert]")
    first = code(key)
    person.type_into("#code", first)
    person.press("button.primary")
    recovery = [item.text for item in person.driver.find_elements(By.CSS_SELECTOR, "ul.codes li")]
    assert len(recovery) == 10, recovery
    person.sign_out()
    person.sign_in(USER, secret)
    assert person.path == "/oidc/login/code" and person.is_on("#code"), person.path
    labels(person)
    person.keys(first, Keys.ENTER)
    person.until("a used code is refused", lambda: "used before" in person.text("[role=alert]"))
    person.type_into("#code", code(key, 1))
    person.press("button.primary")
    assert person.path == "/oidc/account", person.path
    person.sign_out()
    person.sign_in(USER, secret)
    person.keys(recovery[0], Keys.ENTER)
    person.until("a recovery code signs in", lambda: person.path == "/oidc/account")
    assert "Recovery codes left: 9" in person.text("main")


def account(person, secret, new):
    person.type_into("#password-current", secret)
    person.type_into("#password-new", new)
    person.type_into("#password-again", "something else entirely")
    person.press("form[action='/oidc/account/password'] button")
    assert "both times" in person.text("[role=alert]"), person.text("[role=alert]")
    person.type_into("#password-current", secret)
    person.type_into("#password-new", new)
    person.type_into("#password-again", new)
    person.press("form[action='/oidc/account/password'] button")
    assert "is changed" in person.text("[role=status]")
    person.type_into("#factor-current", new)
    person.press("form[action='/oidc/account/second-factor/remove'] button")
    assert "is off" in person.text("[role=status]")
    assert "this one" in person.text("section[aria-labelledby=sessions-h]")
    person.go("/oidc/admin/users")
    assert "for administrators" in person.text("[role=alert]")
    person.go("/oidc/account")
    person.sign_out()


def administration(person, secret):
    person.sign_in("admin", secret, "/oidc/admin/users")
    assert person.path == "/oidc/admin/users", person.path
    labels(person)
    assert USER in person.text("#users")
    person.type_into("section[aria-labelledby=add-h] input[name=name]", "added-by-keys")
    person.press("section[aria-labelledby=add-h] button")
    assert person.path.startswith("/oidc/admin/users/added-by-keys"), person.path
    person.press("button[value=suspend]")
    assert "suspended" in person.text("section.card") and "changed" in person.text("[role=status]")
    person.press("button[value=restore]")
    assert "active" in person.text("section.card")
    person.press("button[value=sign-in-link]")
    link = person.text("#link")
    assert "/ui/login?code=" in link, link
    person.go("/oidc/admin/users?q=added")
    assert person.text("#users tbody").startswith("added-by-keys")
    person.press("nav[aria-label=Administration] a[href='/oidc/admin/registrations']")
    assert "Nobody waits" in person.text("main")
    person.press("nav[aria-label=Administration] a[href='/oidc/admin/bans']")
    labels(person)
    person.type_into("#ban-subject", "added-by-keys")
    person.type_into("#ban-reason", "a check")
    person.press("section[aria-labelledby=ban-h] button")
    assert "added-by-keys" in person.text("section[aria-labelledby=force-h]")
    person.press("section[aria-labelledby=force-h] button")
    assert "Nobody is banned" in person.text("main")


def erasure(person, secret):
    person.go("/oidc/account")
    person.sign_out()
    person.sign_in(USER, secret)
    assert person.path == "/oidc/account", person.path
    labels(person)
    button = "form[action='/oidc/account/erase'] button"
    person.type_into("#erase-current", secret)
    person.type_into("#erase-name", "somebody else")
    person.press(button)
    assert "name of your account" in person.text("[role=alert]"), person.text("[role=alert]")
    person.type_into("#erase-current", secret)
    person.type_into("#erase-name", USER)
    person.press(button)
    assert "erased-" in person.text("[role=status]"), person.text("[role=status]")
    assert "hash of the name" in person.text("section[aria-labelledby=remains-h]")
    person.sign_in(USER, secret)
    assert "not right" in person.text("[role=alert]"), "nobody signs in to an erased account"


def without_scripts(person, secret):
    person.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        person.go("/oidc/account")
        person.one("form.who button").click()
        person.one("#name").send_keys("admin")
        person.one("#password").send_keys(secret, Keys.ENTER)
        time.sleep(1)
        person.go("/oidc/account")
        assert "Your account" in person.driver.page_source
    finally:
        person.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def picture(person, folder):
    os.makedirs(folder, exist_ok=True)
    for name, path in (("login", "/oidc/login"), ("account", "/oidc/account"), ("users", "/oidc/admin/users"), ("user", f"/oidc/admin/users/{USER}"), ("bans", "/oidc/admin/bans")):
        person.go(path)
        for scheme in ("light", "dark"):
            feature = [{"name": "prefers-color-scheme", "value": scheme}]
            person.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
            assert person.driver.save_screenshot(f"{folder}/{name}-{scheme}.png")


def is_quiet(person):
    complaints = person.complaints()
    assert not complaints, complaints


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default=os.environ.get("DTE_URL"), required="DTE_URL" not in os.environ)
    parser.add_argument("--screenshots", metavar="FOLDER")
    given = parser.parse_args()
    secret, admin = os.environ["DTE_USER_PASSWORD"], os.environ["DTE_ADMIN_PASSWORD"]
    profile = tempfile.mkdtemp(prefix="dte-chromium-")
    driver = browser(profile, WIDTH, HEIGHT)
    try:
        person = Person(driver, given.url)
        check("the dashboard leads to the sign-in page", lambda: dashboard_leads_here(person))
        check("a wrong password, and a wrong name, say the same", lambda: wrong_password(person))
        check("name and password sign in", lambda: password(person, secret))
        check("an authenticator: set up, asked for, each code once", lambda: second_factor(person, secret))
        check("the account page changes the password and takes the authenticator away", lambda: account(person, secret, secret + " new"))
        check("administration of accounts and bans", lambda: administration(person, admin))
        if given.screenshots:
            check("pictures", lambda: picture(person, given.screenshots))
        check("no console error", lambda: is_quiet(person))
        check("it works without JavaScript", lambda: without_scripts(person, admin))
        check("a person erases the own account", lambda: erasure(person, secret + " new"))
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
