"""The default project, of flights, in a folder of its own, in which the tests of the library work.

What they start finds the project as its team does: the working folder has its pyproject.toml, its
package can be imported. The library is that of this repository.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from ml_chassis import project
from ml_chassis.serving.decode import Decoder
from ml_chassis.serving.table import TableChecker
from render.engines import by_cookiecutter, copy_template

OWNER = os.getpid()
HOME = Path(tempfile.mkdtemp(prefix="flights-"))


@atexit.register
def _remove() -> None:
    if os.getpid() == OWNER:  # and not a copy of this process
        shutil.rmtree(HOME, ignore_errors=True)


FOLDER = by_cookiecutter(copy_template(HOME / "template"), HOME / "made")
sys.path.insert(0, str(FOLDER / "src"))
os.environ["PYTHONPATH"] = str(FOLDER / "src")


def enter() -> None:
    """Make it the working folder of this process."""
    os.chdir(FOLDER)


PROJECT = project.read(FOLDER)
CONTRACT = PROJECT.contract
DECODER = Decoder(CONTRACT)
TABLES = TableChecker(DECODER)
