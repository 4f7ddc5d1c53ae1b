"""Every snippet of docs/clients.md predicts the example row, as it stands there."""

import re
import subprocess
import sys

import httpx
import pytest

from chassis.flights import CONTRACT
from chassis.rows import flat
from ml_chassis.testing import Service
from render.engines import ROOT

example_row = CONTRACT.example_row

CLIENTS = ROOT / "template" / "chassis" / "docs" / "clients.md"
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```$", CLIENTS.read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = {"python": [sys.executable, "-c"], "sh": ["sh", "-ec"]}


def test_the_page_has_snippets() -> None:
    assert len(SNIPPETS) == len(re.findall(r"^```\w", CLIENTS.read_text(), re.MULTILINE)) > 0


@pytest.mark.parametrize(("language", "snippet"), SNIPPETS)
def test_the_snippet_predicts(service: Service, language: str, snippet: str) -> None:
    answer = httpx.post(f"{service.url}/predict", json={"rows": [example_row()]})
    expected = flat(answer.raise_for_status().json()["predictions"])
    text = snippet.replace("localhost:3000", service.url.removeprefix("http://"))
    assert text != snippet

    ended = subprocess.run(
        [*COMMANDS[language], text], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    printed = [float(each) for each in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", ended.stdout)]
    assert printed == pytest.approx(expected)
