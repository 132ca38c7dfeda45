"""What every test gets: a home of its own, the published data or a reason, and, where asked, no excuses.

`MOVIEREC_REQUIRE` (words, comma-separated) turns skips into failures, so that a green run means that the tests ran:
`realdata` those of tests marked `realdata`, `tools` all the others (a browser, a package that isn't there).
"""

import os
from pathlib import Path

import pytest

REQUIRED = {word.strip() for word in os.environ.get("MOVIEREC_REQUIRE", "").split(",")} - {""}


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory):
    "Nothing is written to the checkout, and nothing that lies there (an old bundle, a cache) is seen."
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MOVIEREC_HOME", str(tmp_path_factory.mktemp("home")))
        m.setenv("MOVIEREC_PROGRESS", "0")
        m.delenv("MOVIEREC_BUNDLE", raising=False)
        yield


@pytest.fixture(scope="session")
def real_data():
    "`real_data('ml-100k')`: the folder of that published data set, or a skip that says what is missing."

    def folder(name: str) -> Path:
        path = Path(os.environ.get("MOVIEREC_DATA") or "data", name).absolute()
        if not path.is_dir():
            pytest.skip(f"{name} is not under MOVIEREC_DATA")
        return path

    return folder


def _refuse(report, word):
    "A skip becomes a failure that gives the reason of the skip."
    if report.skipped and not hasattr(report, "wasxfail") and word in REQUIRED:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"MOVIEREC_REQUIRE={word}, but this was skipped: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _refuse(report, "realdata" if item.get_closest_marker("realdata") else "tools")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _refuse(report, "tools")
    return report
