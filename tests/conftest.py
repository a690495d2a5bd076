"""What the tests share: one thread, the same random examples in every run, a browser, and the site served to it."""

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from tests.browsing import FLAGS, Quiet, serving
from tools.browser import find

torch.set_num_threads(1)
settings.register_profile("steady", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("steady")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find()
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium, and CI does not skip the browser tests")
        pytest.skip("THERE IS NO CHROMIUM: the built site is not tested. Run `make browser`, or set CHROMIUM")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Quiet) as url:
        yield url
