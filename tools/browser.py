"""Find a Chromium for the browser tests, and get one where there is none.

In this order: one named by the variable CHROMIUM, one on the PATH, one that Playwright has; else apt is asked for it on
Debian and Ubuntu, as root, and then Playwright. Where all fails this says so, and the browser tests are skipped, unless
the variable CI is set: then this ends in an error.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Path of a Chromium on this machine."""
    named = os.environ.get("CHROMIUM")
    if named:
        if not Path(named).exists():
            raise FileNotFoundError(f"CHROMIUM names {named}, which does not exist")
        return named
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    return _of_playwright()


def main() -> None:
    if find():
        return
    print("No Chromium found for the browser tests; getting one …", flush=True)
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        _try("apt-get", "update", "-qq")
        _try("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
    if not find():
        _try(sys.executable, "-m", "playwright", "install", "chromium")
    if not find():
        message = "There is no Chromium, and none could be got."
        if os.environ.get("CI"):
            sys.exit(f"{message} CI does not skip the browser tests.")
        print(f"{message} THE BROWSER TESTS WILL BE SKIPPED. Install Chromium, or set CHROMIUM to its path.")


def _of_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _try(*command: str) -> None:
    try:
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    except OSError as error:
        print(f"{command[0]}: {error}")


if __name__ == "__main__":
    main()
