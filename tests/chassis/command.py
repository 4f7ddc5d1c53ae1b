"""The command `chassis`, called in this process."""

from ml_chassis import cli


def chassis(*arguments: str) -> int:
    """Run the command and return its exit code."""
    try:
        cli.main(arguments, prog_name="chassis")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
