"""The command `chassis`: its help, and what it says outside a project."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chassis.flights import PROJECT
from ml_chassis import cli
from ml_chassis.serving import example
from waiting import PATIENCE_SECONDS, wait_for

COMMANDS = sorted(cli.main.commands)
ARGUMENTS = {"score": ("rows.csv", "out.csv"), "promote": ("a-version",), "export": ("folder",)}
# Libraries that take long to import: a command brings its own when it runs.
HEAVY = ("bentoml", "fastapi", "numpy", "onnxruntime", "polars", "pydantic", "sklearn", "torch")


def invoke(*arguments: str) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it said."""
    done = CliRunner(env={"NO_COLOR": "1"}).invoke(cli.main, arguments)
    return done.exit_code, done.output


def test_the_help_names_every_command_whole() -> None:
    code, said = invoke("--help")
    assert code == 0
    assert sorted(name for names in cli.GROUPS.values() for name in names) == COMMANDS
    for name in COMMANDS:
        (line,) = [line for line in said.splitlines() if line.startswith(f"  {name} ")]
        assert line.endswith(".")
        assert "..." not in line


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_and_its_options(name: str) -> None:
    code, said = invoke(name, "--help")
    assert code == 0
    assert said.startswith(f"Usage: main {name}")
    for parameter in cli.main.commands[name].params:
        assert parameter.param_type_name == "argument" or vars(parameter)["help"]


@pytest.mark.parametrize("name", COMMANDS)
def test_outside_a_project_each_says_where_to_call_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke(name, *ARGUMENTS.get(name, ())) == (
        1,
        "There is no pyproject.toml: call it in the root of the project.\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_command_is_guessed() -> None:
    code, said = invoke("trian")
    assert code == 2
    assert "Did you mean 'train'?" in said


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1", "soon"])
def test_the_length_of_a_load_is_a_number(seconds: str) -> None:
    code, said = invoke("load", "--seconds", seconds)
    assert code == 2
    assert "Invalid value for '--seconds'" in said


@pytest.mark.parametrize("url", ["localhost:3000", "http://[bad", "http://a b", "http://"])
def test_what_is_no_address_is_told(url: str) -> None:
    assert example.run(PROJECT, url) == 2


@pytest.mark.parametrize("folder", ["", ".", "models"])
def test_the_registry_is_not_copied_into_itself(folder: str) -> None:
    code, said = invoke("export", folder)
    assert code == 1
    assert "Say which folder" in said


def test_an_interrupted_command_ends_as_shells_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_project", interrupt)
    assert invoke("train") == (130, "")


def test_a_library_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lack() -> None:
        raise ModuleNotFoundError("No module named 'polars'", name="polars")

    monkeypatch.setattr(cli, "_project", lack)
    message = "polars is not installed. It comes with ml-service-chassis[training].\n"
    assert invoke("train") == (1, message)


def test_the_help_takes_no_library_that_is_slow_to_import() -> None:
    code = "import sys; from ml_chassis.cli import main; main(['--help'], standalone_mode=False)"
    after = f"{code}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", after], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


SLOW = """
import tempfile, time
from pathlib import Path
from ml_chassis import cli, models

def show(_):
    with tempfile.TemporaryDirectory(dir="/TMP") as folder:
        Path("/TMP/begun").touch()
        time.sleep(60)

models.show = show
cli.main(["models"], prog_name="chassis")
"""


def test_a_command_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW.replace("/TMP", str(tmp_path))]
    with subprocess.Popen(command) as process:
        wait_for((tmp_path / "begun").exists)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 143

    assert [path.name for path in tmp_path.iterdir()] == ["begun"]
