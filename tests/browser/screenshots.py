"""scripts/screenshots: the pictures of docs/images: the doctor's page about real faults, the service's own page.

python -m tests.browser.screenshots
"""

# ruff: noqa: T201  # printing is what it is for

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ops.text.language import Language
from tests.browser.chromium import Chromium
from tests.browser.service_page import Page
from tests.lab.faults.nginx import proxy_pass_names_the_wrong_port
from tests.lab.faults.tls import certificate_expires_soon
from tests.lab.stack import REPOSITORY, Stack
from tests.system.conftest import gunicorn

IMAGES = REPOSITORY / "docs" / "images"
MOST_BYTES = 150_000
# Name, width and height in CSS pixels, device pixels per CSS pixel.
VIEWS = (("phone", 360, 720, 1.5), ("desktop", 900, 720, 1.0))
LANGUAGES: tuple[tuple[Language, str], ...] = (("en", ""), ("zh", ".zh-CN"))


def reports(folder: Path) -> dict[Language, Path]:
    """The doctor's page about a stack with two faults, in each language."""
    files: dict[Language, Path] = {}
    faults = (certificate_expires_soon, proxy_pass_names_the_wrong_port)
    arranged = {name: value for fault in faults for name, value in fault.stack.items()}
    with Stack(domain="gte-api.example.com", **arranged) as stack:
        for fault in faults:
            fault.inject(stack)
        for language, _ in LANGUAGES:
            ran = stack.gte_ops(
                "doctor", "--config", str(stack.config_file), "--format", "html", "--lang", language
            )
            files[language] = folder / f"{language}.html"
            files[language].write_text(ran.stdout, encoding="utf-8")
    return files


def shoot(browser: Chromium, name: str, width: int, height: int, scale: float) -> None:
    """Write a picture of what the browser shows. Ends with a message where it would be too large for a repository."""
    browser.resize(width, height, scale=scale)
    browser.emulate_media(prefers_color_scheme="light")
    image = browser.picture()
    if len(image) > MOST_BYTES:
        sys.exit(f"{name}: {len(image)} bytes, more than {MOST_BYTES}")
    path = IMAGES / f"{name}.png"
    path.write_bytes(image)
    print(f"{path.relative_to(REPOSITORY)}  {len(image) / 1000:.0f} KB")


def service_pages(browser: Chromium, folder: Path) -> None:
    """The page at ``/`` of a running service: entities on the phone, events at the desk."""
    with gunicorn(folder) as service:
        for language, suffix in LANGUAGES:
            for (name, width, height, scale), task in zip(VIEWS, ("ner", "event"), strict=True):
                page = Page(browser, service, width=width, language=language)
                page.choose(task)
                page.send()
                shoot(browser, f"service-{name}{suffix}", width, height, scale)


def main() -> None:
    """Take all pictures. Ends with a message where one would be too large for a repository, or has no Chinese."""
    chinese = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, check=False).stdout
    if not chinese:
        sys.exit("no Chinese font is installed: apt-get install fonts-noto-cjk")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Chromium() as browser:
        files = reports(Path(folder))
        for language, suffix in LANGUAGES:
            for name, width, height, scale in VIEWS:
                browser.open(files[language])
                shoot(browser, f"doctor-{name}{suffix}", width, height, scale)
        service_pages(browser, Path(folder))


if __name__ == "__main__":
    main()
