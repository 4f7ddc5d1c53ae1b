"""Build images and run containers with a real engine."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from project.tools import make, run

# What a cluster's restricted policy and a careful host give a service, and no more.
HARDENED = (
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=512m",
    "--pids-limit=200",
)

# Runs beside a service, in the same network, and writes down whom the service tries to reach: each
# UDP packet that leaves, with the name that it asks for, and each TCP connection that it opens.
WATCH = """
import re, socket
# Of all protocols: a socket of one protocol is not shown what leaves.
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
packets.bind(("eth0", 0))
print("watching", flush=True)
while True:
    packet, (_, protocol, direction, *_) = packets.recvfrom(65535)
    if direction != socket.PACKET_OUTGOING or protocol != 0x0800:
        continue
    address, segment = packet[30:34], packet[14 + (packet[14] & 15) * 4 :]
    is_udp, is_tcp = packet[23] == 17, packet[23] == 6
    if is_udp or (is_tcp and segment[13] & 0x12 == 0x02):
        port = int.from_bytes(segment[2:4], "big")
        asked = segment[21:].partition(bytes(1))[0] if port == 53 else b""
        name = re.sub(rb"[^a-z0-9-]", b".", asked).decode()
        print(socket.inet_ntoa(address), port, name, flush=True)
"""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers, by the environment that leads to it."""

    env: dict[str, str]

    def docker(self, *arguments: str, seconds: int = 120) -> str:
        """Run a docker command and return what it printed."""
        done = subprocess.run(
            ["docker", *arguments],
            env=self.env,
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def inspect(self, name: str) -> dict[str, Any]:
        """Return all that the engine knows of a container or an image."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", name))
        return found[0]

    @contextmanager
    def container(self, *arguments: str) -> Iterator[str]:
        """Start a container in the background and yield its id; it is gone afterwards."""
        container = self.docker("run", "--detach", *arguments)
        try:
            yield container
        finally:
            self.docker("rm", "--force", "--volumes", container)

    def logs(self, container: str) -> str:
        """Return what a container has written to standard output."""
        return self.docker("logs", container)

    def address(self, container: str, port: int) -> str:
        """Return where the host reaches a published port: host:port."""
        return self.docker("port", container, f"{port}/tcp").splitlines()[0]


def base_images(dockerfile: str, **arguments: str) -> set[str]:
    """Return the images that a Dockerfile takes from elsewhere, for some build arguments."""
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    values = {**defaults, **arguments}

    def filled(text: str) -> str:
        name = re.search(r"\$\{(\w+)\}", text)
        return filled(text.replace(name[0], values[name[1]])) if name else text

    stages = set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE))
    used = re.findall(r"^FROM (\S+)|^COPY .*--from=(\S+)", dockerfile, re.MULTILINE)
    return {filled(image) for pair in used for image in pair if image} - stages


def build_image(project: Path, env: Mapping[str, str], *arguments: str) -> None:
    """Build an image as `make image` does, with these arguments of make."""
    told = make(project, env, "--dry-run", "image", *arguments)
    # The index of these tests is on this machine itself, whose network a build does not see.
    line = told.replace("docker build", "docker build --network=host --progress=plain")
    built = run(project, "sh", "-e", "-c", line, env=env)
    assert built.returncode == 0, built.stdout


def images_of_others(compose: str) -> list[str]:
    """Return the images that a file of Compose takes from elsewhere."""
    return re.findall(r"^    image: ([a-z]\S+)$", compose, re.MULTILINE)


def start_engine(script: Path, state: Path, images: Iterable[str]) -> Engine:
    """Start the engine, unless one runs already, and make the images available.

    Raises:
        RuntimeError: this machine cannot have an engine; the message says what is missing.
    """
    done = subprocess.run(
        [str(script), str(state), *sorted(images)],
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"{script} failed")
    return Engine(_sourced(state / "env.sh"))


def _sourced(script: Path) -> dict[str, str]:
    shown = subprocess.run(
        ["bash", "-c", '. "$1" && env -0', "bash", str(script)],
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(entry.split("=", 1) for entry in shown.stdout.split("\0") if "=" in entry)


def with_engine(env: Mapping[str, str], engine: Engine) -> dict[str, str]:
    """Return the environment of a project's commands, with the engine added to it."""
    added = {name: value for name, value in engine.env.items() if name.startswith("DOCKER_")}
    docker = shutil.which("docker", path=engine.env["PATH"]) or "docker"
    return {**env, **added, "PATH": f"{Path(docker).parent}:{env['PATH']}"}
