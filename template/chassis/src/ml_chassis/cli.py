"""The command `chassis`: what the Makefile of a project calls, and a person may call as well.

Each command imports what it runs only when it runs: an image has no training library, and the
service must start quickly.
"""

import gc
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .project import Project

GROUPS = {
    "Data and training": (
        *("adopt", "data", "train", "retrain", "retrainer", "tune", "optimise", "runs"),
    ),
    "Serving": ("serve", "predict", "stream", "score", "feedback", "observe", "load"),
    "Releases": ("gateway", "up", "down", "canary", "shadow", "experiment"),
    "Models": ("models", "promote", "rollback", "export"),
    "Checks": ("docs", "rules", "contract"),
}
"""The commands in the order in which the help shows them."""
EXTRAS = {
    "aiohttp": "checks",
    "faststream": "streaming",
    "grafana_foundation_sdk": "checks",
    "hypothesis": "checks",
    "jsoncompat": "checks",
    "narwhals": "training",
    "onnx": "training",
    "onnxscript": "neural-network",
    "polars": "training",
    "psutil": "checks",
    "rich": "checks",
    "skl2onnx": "gradient-boosting",
    "sklearn": "training",
    "sqlalchemy": "training",
    "threadpoolctl": "gradient-boosting",
    "tomlkit": "training",
    "torch": "neural-network",
    "vl_convert": "checks",
}
"""By a library that may be missing: the extra of this package that brings it."""


class Seconds(click.FloatRange):
    """A number within a range, which NaN is not."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


class Commands(click.Group):
    """Lists the commands in groups, and guesses what a wrong one was meant to be."""

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with a line each."""
        for title, names in GROUPS.items():
            rows = [(name, self.commands[name].get_short_help_str(70)) for name in names]
            with formatter.section(title):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named."""
        near = get_close_matches(args[0], self.commands, 1)
        if args[0] not in self.commands and near:
            ctx.fail(f"There is no command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> None:
        """Run the command, and end with its exit code."""
        from .errors import UserError

        try:
            with _tidy():
                code = super().invoke(ctx)
        except UserError as error:
            print(error, file=sys.stderr)
            code = 1
        except KeyboardInterrupt:
            code = 130
        except OSError as error:
            if not error.filename:  # nothing that a person named
                raise
            print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
            code = 1
        except ModuleNotFoundError as error:
            library = (error.name or "").partition(".")[0]
            if library not in EXTRAS:
                raise
            needed = f"ml-service-chassis[{EXTRAS[library]}]"
            print(f"{library} is not installed. It comes with {needed}.", file=sys.stderr)
            code = 1
        ctx.exit(code or 0)


@contextmanager
def _tidy() -> Iterator[None]:
    """Let a command clean up when it is told to end; serve and stream do so in their own ways."""
    if current_thread() is not main_thread():
        yield
        return
    told = [getattr(signal, name, signal.SIGTERM) for name in ("SIGTERM", "SIGHUP")]
    before = {number: signal.getsignal(number) for number in told}

    def end(which: int, _: FrameType | None) -> None:
        for number in told:  # who starts this may pass on what it is told, too
            signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + which)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="ml-service-chassis", prog_name="chassis")
def main() -> None:
    """Train, serve and watch the model of the project in this folder.

    Settings come from the environment, MODEL_SERVICE_<NAME>; see docs/settings.md of the chassis.
    """
    sys.path.insert(0, os.getcwd() + "/src")  # noqa: PTH109 - a project need not be installed


def _project() -> "Project":
    from . import project

    return project.read()


# ---- data and training


@main.command()
@click.argument("data", default="")
@click.argument("target", default="")
@click.option("--time", default="", help="The column that says when a row is about.")
@click.option("--task", default="", help="classification or regression, if not as it looks.")
@click.option("--keep", default="", help="Columns that become features in any case.")
@click.option("--leave-out", default="", help="Columns that become none.")
def adopt(data: str, target: str, time: str, task: str, keep: str, leave_out: str) -> int:
    """Make this the project for DATA, a CSV file; predict TARGET.

    TARGET is a column of it. What is understood of the others is shown first.
    """
    from .adopt.command import Wish, run

    return run(_project(), Wish(data, target, time, task, keep, leave_out))


@main.command()
@click.option("--replay", is_flag=True, help="Read rows in quarantine again.")
def data(replay: bool) -> int:
    """Read what is new, refuse bad rows, build the features."""
    from .data.command import run
    from .training.config import read

    project = _project()
    return run(project, read(project).refused_limit, replay)


@main.command()
def train() -> int:
    """Train, evaluate and register the model; it must meet every gate."""
    from .training.train import run

    return run(_project())


@main.command()
def retrain() -> int:
    """Train on new data; promote what passes the gates.

    Both are compared on the newest rows.
    """
    from .training.retrain import run

    return run(_project())


@main.command()
def retrainer() -> int:
    """Retrain when an alert asks for it, until stopped."""
    from .retrainer.command import run

    return run(_project())


@main.command()
@click.option("--apply", is_flag=True, help="Write the best into training.toml.")
def tune(apply: bool) -> int:
    """Search for better parameters."""
    from .training.tune import run

    return run(_project(), apply)


@main.command()
def optimise() -> int:
    """Make smaller variants of the model, time them, serve the best."""
    from .training.optimise import run

    return run(_project())


@main.command()
def runs() -> int:
    """Show what was trained, tuned and optimised, and what came of it."""
    from .training.runs import run

    return run(_project())


# ---- serving


@main.command()
def serve() -> None:
    """Answer HTTP requests until stopped."""
    gc.disable()  # what is imported stays; to search it for garbage takes a tenth of the start
    from .serving.command import run

    run(_project())


@main.command()
@click.argument("url", default="http://localhost:3000")
def predict(url: str) -> int:
    """Send the example row to the service at URL."""
    from .serving.example import run

    return run(_project(), url)


@main.command()
@click.option("--example", is_flag=True, help="Send the example row, ten times.")
@click.option("--replay", is_flag=True, help="Send dead letters again.")
@click.option("--labels", is_flag=True, help="Take labels of predictions, and no events.")
def stream(example: bool, replay: bool, labels: bool) -> int:
    """Predict what arrives on a topic until stopped."""
    if example and labels:
        raise click.UsageError("Give --example or --labels, not both.")
    from .streaming.command import run

    return run(_project(), example, replay, labels)


@main.command()
@click.argument("source", metavar="INPUT", default="")
@click.argument("target", metavar="OUTPUT", default="")
@click.option("--version", default="", help="Of the model; the champion when none is given.")
def score(source: str, target: str, version: str) -> int:
    """Predict every row of INPUT, a file or table, into OUTPUT, a file.

    A table is a database and its name: sqlite:///shop.db?table=orders.
    """
    from .batch.command import run

    return run(_project(), source, target, version)


@main.command()
@click.argument("source", metavar="INPUT", default="")
def feedback(source: str) -> int:
    """Take labels of predictions from INPUT, a file or table.

    Its columns are prediction_id and label.
    """
    from .batch.labels import run

    return run(_project(), source)


@main.command()
@click.option("--url", default="", help="Of the service; none is that of this folder.")
@click.option("--demo", is_flag=True, help="Play a story: a failure, drift, a retraining.")
def observe(url: str, demo: bool) -> int:
    """Show on a page what Prometheus sees of the service, until stopped."""
    if url and demo:
        raise click.UsageError("Give --url or --demo, not both.")
    from .observe.command import run

    return run(_project(), url, demo)


@main.command()
@click.option("--seconds", type=Seconds(1, 86_400), default=30.0, help="How long.")
@click.option("--url", default="", help="Load the service at this address, and start none.")
@click.option("--image", default="", help="Load this image, started as deploy/compose.yaml says.")
@click.option("--slo", type=Path, default=Path("slo.yaml"), help="Objectives and budget.")
@click.option("--report", type=Path, default=Path("build/load/report.html"), help="The page.")
def load(seconds: float, url: str, image: str, slo: Path, report: Path) -> int:
    """Load the service and judge it by slo.yaml."""
    if url and image:
        raise click.UsageError("Give --url or --image, not both.")
    from .loading.command import Options, run

    return run(_project(), Options(seconds, url, image, slo, report))


# ---- releases


@main.command()
def gateway() -> int:
    """Answer HTTP requests through Envoy until stopped."""
    from .delivery.command import run_gateway

    return run_gateway(_project())


@main.command()
@click.option("--image", default="", help="That serves; without it, that which does.")
def up(image: str) -> int:
    """Serve and watch on this host in containers, behind Envoy.

    What runs already is left alone where nothing has changed.
    """
    from .delivery.compose import host

    return host.up(_project(), image)


@main.command()
def down() -> int:
    """Stop what `up` started; what Prometheus knows is kept."""
    from .delivery.compose import host

    return host.down(_project())


@main.command()
@click.argument("version", default="")
@click.option("--image", default="", help="Release it beside the one that `up` runs.")
@click.option("--do", "wanted", default="", help="Tell it to hold, resume, promote or abort.")
def canary(version: str, image: str, wanted: str) -> int:
    """Release VERSION, or an image; without either, play releases.

    It is promoted or rolled back by what Prometheus has recorded.
    """
    if sum(map(bool, (version, image, wanted))) > 1:
        raise click.UsageError("Give one of VERSION, --image and --do.")
    from .delivery import command

    if wanted:
        return command.wish(wanted)
    if image:
        from .delivery.compose.release import release

        return release(_project(), image)
    return command.release(_project(), version) if version else command.play(_project())


@main.command()
@click.argument("version", default="")
@click.option("--share", type=click.IntRange(1, 100), default=100, help="Percent that is copied.")
@click.option("--seconds", type=Seconds(1, 604_800), default=None, help="How long.")
def shadow(version: str, share: int, seconds: float | None) -> int:
    """Ask VERSION what the gateway's clients ask, and compare it.

    Nobody is answered by it. Without --seconds it ends with Ctrl-C. Without VERSION the report on
    the last one is written anew, with labels that came since.
    """
    from .delivery.shadow import command

    return (
        command.run(_project(), version, share, seconds) if version else command.report(_project())
    )


@main.command()
@click.argument("source", metavar="INPUT", default="")
@click.option("--version", default="", help="Begin a test of it behind the gateway.")
def experiment(source: str, version: str) -> int:
    """Decide an A/B test of services, or of INPUT, a file or table.

    Columns of INPUT are unit, arm, outcome and, if there is one, at; the plan is in slo.yaml. With
    --version, one begins behind the gateway, and ends when it is decided, or with Ctrl-C.
    """
    if source and version:
        raise click.UsageError("Give INPUT or --version, not both.")
    from .delivery.experiment import command

    return command.run_test(_project(), version) if version else command.run(_project(), source)


# ---- models

ALIAS = click.option(
    "--alias", type=click.Choice(["champion", "challenger"]), default="champion", help="The name."
)
WHY = click.option("--why", envvar="WHY", default="", help="The reason; or the variable WHY.")


@main.command()
def models() -> int:
    """List the registered models; who named the champion, when and why."""
    from . import models

    return models.show(_project())


@main.command()
@click.argument("version", default="")
@ALIAS
@WHY
def promote(version: str, alias: str, why: str) -> int:
    """Make VERSION the champion, or the challenger, and note why."""
    from . import models

    return models.promote(_project(), version, alias, why)


@main.command()
@ALIAS
@WHY
def rollback(alias: str, why: str) -> int:
    """Make the version before it the champion again, and note why."""
    from . import models

    return models.rollback(_project(), alias, why)


@main.command()
@click.argument("folder", type=Path)
def export(folder: Path) -> int:
    """Copy the champion into FOLDER, a registry of its own for an image."""
    from . import models

    return models.export(_project(), folder)


# ---- checks


@main.command()
def docs() -> int:
    """Write the pages in docs/ that are made from the code."""
    from .reference import run

    return run(_project())


@main.command()
def rules() -> int:
    """Write the rules and dashboards in monitoring/ from slo.yaml."""
    from .monitoring.files import run

    return run(_project())


@main.command()
@click.option("--accept", is_flag=True, help="Write changes that break clients.")
def contract(accept: bool) -> int:
    """Refuse changes that break clients; write the others.

    docs/openapi.json holds the interface that clients know.
    """
    from .compatibility import run

    return run(_project(), accept)
