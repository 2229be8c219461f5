"""A browser for the tests: Chromium, driven by WebDriver (W3C), without a library."""

import base64
import http.client
import json
import re
import shutil
import subprocess
import tempfile

DEADLINE = 60  # seconds, for one command


class Browser:
    """One window of 1280 by 720 CSS pixels, with a new profile."""

    def __init__(self, *options, language="en"):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True)
        self.session = None
        try:
            for line in self.driver.stdout:
                if started := re.search(r"started successfully on port (\d+)", line):
                    break
            self.port = int(started[1])
            binary = (shutil.which("chromium") or shutil.which("chromium-browser")
                      or shutil.which("google-chrome"))
            wanted = {"binary": binary, "args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--lang=" + language,
                "--user-data-dir=" + self.profile.name, *options],
                "prefs": {"download.default_directory": self.profile.name,
                          "intl.accept_languages": language}}
            self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "goog:chromeOptions": wanted,
                "goog:loggingPrefs": {"browser": "ALL"}}}})["sessionId"]
            self.resize(1280, 720)
        except BaseException:
            self.close()
            raise

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError("%s: %s" % (value["error"], value["message"].split("\n")[0]))
        return value

    def command(self, name, body=None, method="POST"):
        if method == "POST" and body is None:
            body = {}
        return self.call(method, "/session/%s/%s" % (self.session, name), body)

    def devtools(self, name, **parameters):
        return self.command("goog/cdp/execute", {"cmd": name, "params": parameters})

    def resize(self, width, height):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height,
                      deviceScaleFactor=1, mobile=False)

    def prefer(self, **features):
        """Media features: prefer(prefers_reduced_motion="reduce")."""
        self.devtools("Emulation.setEmulatedMedia", features=[
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()])

    def open(self, url):
        self.command("url", {"url": url})

    def run(self, script, *arguments):
        """The value of a JavaScript function body."""
        return self.command("execute/sync", {"script": script, "args": list(arguments)})

    def press(self, *keys):
        """Keys for what has the focus, as characters or names such as ArrowLeft."""
        codes = {"ArrowUp": "\ue013", "ArrowDown": "\ue015", "ArrowLeft": "\ue012",
                 "ArrowRight": "\ue014", "Enter": "\ue007", "Tab": "\ue004", "Escape": "\ue00c"}
        actions = []
        for key in keys:
            actions += [{"type": kind, "value": codes.get(key, key)} for kind in ("keyDown", "keyUp")]
        self.command("actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.command("screenshot", method="GET")))

    def console(self):
        """What the page has printed or violated since the last call."""
        return [line["message"] for line in self.command("se/log", {"type": "browser"})]

    def close(self):
        if self.session:
            try:
                self.call("DELETE", "/session/" + self.session)
            except (OSError, AssertionError):
                pass
        self.driver.terminate()
        try:
            self.driver.wait(10)
        except subprocess.TimeoutExpired:
            self.driver.kill()
            self.driver.wait()
        self.driver.stdout.close()
        self.profile.cleanup()
