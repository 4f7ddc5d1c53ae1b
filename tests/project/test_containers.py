"""The helpers around the container engine do what the tests of the image rely on."""

from pathlib import Path

import pytest

from project.containers import base_images, start_engine
from render.engines import ROOT

ENGINE = ROOT / "tools" / "container-engine.sh"


def test_the_images_of_a_dockerfile_are_those_that_no_stage_builds() -> None:
    dockerfile = """
ARG PYTHON_VERSION=3.13
ARG PYTHON_IMAGE=python:${PYTHON_VERSION}-slim
FROM registry.example/uv:1 AS uv
FROM ${PYTHON_IMAGE} AS build
COPY --from=uv /uv /usr/local/bin/uv
COPY --from=registry.example/tool:2 /tool /
FROM ${PYTHON_IMAGE}
COPY --from=build /app /app
"""
    others = {"registry.example/uv:1", "registry.example/tool:2"}
    assert base_images(dockerfile) == {"python:3.13-slim", *others}
    assert base_images(dockerfile, PYTHON_VERSION="3.11") == {"python:3.11-slim", *others}


def test_the_engine_says_why_it_cannot_be_had(tmp_path: Path) -> None:
    unusable = tmp_path / ("long" * 20)
    with pytest.raises(RuntimeError, match="too long for the sockets"):
        start_engine(ENGINE, unusable, [])
