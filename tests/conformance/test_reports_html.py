"""The HTML report in a real browser, spoken to over the pipe of the Chrome DevTools protocol."""

import fcntl
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import Result
from lion_ports.conformance.reports.html import html
from lion_ports.conformance.runner import Report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--remote-debugging-pipe",
)  # fmt: skip
KEYS = {
    "Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38,
    "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip


class Browser:
    """One headless Chromium with one page."""

    def __init__(self, folder: Path) -> None:
        # Chromium reads from descriptor 3 and writes to 4; ours stay clear of both until then.
        theirs_in, self._out = map(_high, os.pipe())
        self._in, theirs_out = map(_high, os.pipe())
        moves = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4)]
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        self._pid = os.posix_spawn(
            CHROMIUM, command, os.environ, file_actions=[*quiet, *moves], setsid=True
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._left, self._number, self._session = b"", 0, None
        self.requests, self.blocked = [], []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._until(lambda answer: answer.get("id") == self._number)["result"]

    def _until(self, wanted):
        while True:
            while b"\0" not in self._left:
                part = os.read(self._in, 1 << 16)
                assert part, "chromium has ended"
                self._left += part
            line, _, self._left = self._left.partition(b"\0")
            answer = json.loads(line)
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("method") == "Network.loadingFailed":
                self.blocked.append(answer["params"].get("blockedReason"))
            if wanted(answer):
                return answer

    def open(self, path: Path, width: int = 1280, *, dark: bool = False, script: bool = True):
        """Load a file in a window of this width."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self.requests.clear()
        self.blocked.clear()
        self.call("Page.navigate", url=path.as_uri())
        self._until(lambda answer: answer.get("method") == "Page.loadEventFired")

    def js(self, expression: str):
        """The value of an expression in the page."""
        done = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, userGesture=True,
            awaitPromise=True,
        )  # fmt: skip
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def press(self, *keys: str) -> None:
        for key in keys:
            code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
            text = {"text": "\r"} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def write(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def picture(self, **clip) -> str:
        return self.call("Page.captureScreenshot", format="png", **clip)["data"]


def _high(fd: int) -> int:
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return copy


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("needs chromium: no chromium, chromium-browser or google-chrome is on the path")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


FAIL = (
    "step 2, weight[1, 0]: the parameter came as -0x1.0400000000000p-5, allowed is "
    "-0x1.0200000000000p-5 to -0x1.0100000000000p-5 (x=0x1.0000000000000p-6, g=nan, lr=0x1p-6)"
)
SCRIPT = "<script>document.title='broken into'</script><img src=http://example.org/x>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Every case on four implementations, of which the third fails three and the last crashes."""
    reports = [
        Report(
            name, "faithful", "1.0", cases=[Result(i, c.rule, "EXACT") for i, c in CASES.items()]
        )
        for name in ("numpy", "torch:my_pkg.optim:MyLion", "python:mine:Wrong", SCRIPT)
    ]
    cases = {result.id: result for result in reports[2].cases}
    for name in ("basic-decay", "decay-alone", "dtype-bfloat16"):
        cases[name].outcome, cases[name].detail = "FAIL", FAIL
        cases[name].diagnosis = ["decay-coupled"]
    cases["basic-normal"].outcome, cases["basic-normal"].max_ulp = "ULP", 17
    reports[3].cases[1].outcome, reports[3].cases[1].detail = "ERROR", SCRIPT
    path = tmp_path_factory.mktemp("page") / "r.html"
    reports[2].arguments = ("--kwarg", "foreach=true")
    path.write_text(html(reports))
    return path


SHOWN = """[...document.querySelectorAll("tr[data-id]")]
    .filter((row) => row.checkVisibility()).map((row) => row.dataset.id)"""
FOCUS = """(() => { const cell = document.activeElement.closest("td");
    return cell && [cell.parentNode.dataset.id, cell.dataset.column]; })()"""
DIALOG = "document.querySelector('dialog').innerText"
OPEN = "document.querySelector('dialog').open"


def choose(browser, **values):
    for name, value in values.items():
        field = f"document.querySelector('.filters [name={name}]')"
        browser.js(
            f"{field}.value = {json.dumps(value)};"
            f"{field}.dispatchEvent(new Event('input', {{bubbles: true}}))"
        )
    return browser.js(SHOWN)


@pytest.mark.parametrize("width", [1280, 320])
def test_nothing_is_requested_and_nothing_sticks_out(browser, page, width):
    browser.open(page, width)
    assert browser.requests == [page.as_uri()]
    assert browser.js(SHOWN) == list(CASES)
    assert browser.js("document.documentElement.scrollWidth <= innerWidth")
    assert browser.js("document.title") == "Lion conformance: 2 of 4 conform"
    assert browser.js("document.images.length") == 0
    # What only a wide window has room for.
    assert browser.js("document.querySelector('.reason').checkVisibility()") is (width > 600)
    # The header stays in sight.
    browser.js("scrollTo(0, document.body.scrollHeight / 2)")
    assert browser.js("document.querySelector('thead th').getBoundingClientRect().top") == 0


def test_filters_by_text_category_outcome_and_implementation(browser, page):
    browser.open(page)
    output = "document.querySelector('.filters output').textContent"
    assert browser.js(output) == f"{len(CASES)} of {len(CASES)} cases"
    browser.js("document.querySelector('.filters [name=text]').focus()")
    browser.write("BFloat16")  # in an id, or in a reason
    assert browser.js(SHOWN) == [
        case.id for case in CASES.values() if "bfloat16" in f"{case.id} {case.reason}".lower()
    ]
    browser.js("document.querySelector('.filters [type=reset]').click()")
    browser.js("new Promise((done) => setTimeout(done))")
    assert browser.js(SHOWN) == list(CASES)
    failing = ["basic-two-betas", "basic-decay", "decay-alone", "dtype-bfloat16"]
    assert choose(browser, outcome="failing") == failing
    assert browser.js(output) == f"4 of {len(CASES)} cases"
    assert choose(browser, column="2") == failing[1:]
    assert browser.js("document.querySelectorAll('thead th:not([hidden])').length") == 2
    assert choose(browser, category="decay") == ["decay-alone"]
    assert choose(browser, text="nothing of the kind") == []
    assert choose(browser, text="", column="", category="", outcome="differing") == [
        "basic-two-betas", "basic-decay", "basic-normal", "decay-alone", "dtype-bfloat16",
    ]  # fmt: skip
    assert choose(browser, outcome="ULP") == ["basic-normal"]


@pytest.mark.parametrize("width", [1280, 320])
def test_a_failure_is_reached_opened_and_left_by_keyboard(browser, page, width):
    browser.open(page, width)
    for _ in range(12):  # through the links and the filters to the one stop of the table
        browser.press("Tab")
        if browser.js(FOCUS):
            break
    ids = list(CASES)
    assert browser.js(FOCUS) == [ids[0], "0"]
    browser.press("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert browser.js(FOCUS) == ["basic-decay", "2"]
    browser.press("Enter")
    assert browser.js(OPEN)
    text = browser.js(DIALOG)
    for words in (
        "FAIL basic-decay", CASES["basic-decay"].reason, "L-001 One step", "weight", "[1, 0]",
        "-0x1.04p-5", "-0.03173828125", "to -0x1.01p-5", "nan", "behaves as decay-coupled",
        "lion-conformance run --impl python:mine:Wrong --kwarg foreach=true --case basic-decay",
    ):  # fmt: skip
        assert words in text
    inside = "document.querySelector('dialog').contains(document.activeElement)"
    assert browser.js(inside)
    assert browser.js(
        "document.querySelector('dialog').getBoundingClientRect().right <= innerWidth"
    )
    browser.press("Escape")
    assert not browser.js(OPEN)
    assert browser.js(FOCUS) == ["basic-decay", "2"]
    browser.press("End", "ArrowUp")
    assert browser.js(FOCUS) == ["basic-two-betas", "3"]
    browser.press("Enter")
    assert SCRIPT in browser.js(DIALOG)
    browser.press("Escape", "Home")
    assert browser.js(FOCUS) == ["basic-two-betas", "0"]
    assert browser.requests == [page.as_uri()]


def test_cells_that_passed_open_too_and_the_command_can_be_copied(browser, page):
    browser.open(page)
    cell = 'document.querySelector(\'[data-id="{}"] td[data-column="2"]\').click()'
    browser.js(cell.format("basic-normal"))
    assert "at most 17 representable numbers" in browser.js(DIALOG)
    browser.js("document.querySelector('dialog .close').click()")
    browser.js(cell.format("decay-alone"))
    browser.js("document.querySelector('dialog .copy').click()")
    browser.js("new Promise((done) => setTimeout(done, 50))")
    assert browser.js("document.querySelector('dialog .copy').textContent") == "Copied"


# The contrast of an element's text with what it stands on, as WCAG 2 defines it.
CONTRAST = r"""(element) => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\d.]+/g).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ink = light(getComputedStyle(element).color);
    let on = element;
    while (getComputedStyle(on).backgroundColor.startsWith("rgba")) on = on.parentElement;
    const paper = light(getComputedStyle(on).backgroundColor);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_both_colour_schemes_can_be_read(browser, page, dark):
    browser.open(page, dark=dark)
    background = browser.js("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    for part in (
        "h1",
        ".reason",
        "td.pass",
        "td.fail a",
        "td.error a",
        ".counts",
        "nav a",
        "button",
    ):
        found = browser.js(f"({CONTRAST})(document.querySelector('{part}'))")
        assert found >= 4.5, part
    # Each outcome has a symbol beside its colour.
    symbols = "[...document.querySelectorAll('td')].map((cell) => cell.innerText.trim()[0])"
    assert set(browser.js(symbols)) == {"=", "≈", "✗", "!"}


def test_without_javascript_all_of_it_can_be_read(browser, page):
    browser.open(page, script=False)
    assert browser.js("document.querySelector('.filters').checkVisibility()") is False
    assert browser.js(SHOWN) == list(CASES)
    links = "[...document.querySelectorAll('td a')].map((a) => a.hash.slice(1))"
    for anchor in browser.js(links):
        assert browser.js(f"document.getElementById({json.dumps(anchor)}).checkVisibility()")
    assert "lion-conformance run --impl python:mine:Wrong" in browser.js("document.body.innerText")


def test_what_is_injected_neither_runs_nor_reaches_the_network(browser, page, tmp_path):
    spoiled = tmp_path / "spoiled.html"
    spoiled.write_text(page.read_text().replace("<h1>", f"{SCRIPT}<h1>"))
    browser.open(spoiled)
    assert browser.js("document.title").startswith("Lion conformance")
    assert browser.requests == [spoiled.as_uri(), "http://example.org/x"]
    assert browser.blocked == ["csp"]


def test_a_report_without_failures_and_one_without_cases_say_so():
    fine = Report("numpy", "faithful", cases=[Result("basic-decay", "L-001", "EXACT")])
    assert "No case failed." in html([fine])
    assert "no case could be judged" in html([Report("numpy", "faithful")])


def test_the_table_is_one_for_assistive_technology(page):
    text = page.read_text()
    assert text.count('<th scope="col"') == 5
    assert text.count('<th scope="row">') == len(CASES)
    assert "<caption>" in text
    assert not re.findall(r"(?:src|href)=\"(?!#|data:,)[^\"]*\"", text)
    assert "@import" not in text
    assert "url(" not in text
