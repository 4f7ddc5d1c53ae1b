"""The OpenAPI document is true: a fuzzer finds nothing, and a generated client works."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template

import pytest

from nightly import NIGHTLY
from project.service import Running, make_serve
from project.tools import run

# Each has dozens of dependencies, so they get environments of their own.
FUZZER = "schemathesis==4.32.5"
GENERATOR = "openapi-python-client==0.29.1"
EXAMPLES = 100 if NIGHTLY else 15  # of each operation
TENSORFLOW = "/v1/models/model"
FUZZER_CONFIG = Path(__file__).with_name("schemathesis.toml")
# Media types of which the generator makes code that does not run.
UNKNOWN = ("text/csv", "application/vnd.apache.arrow.stream")
CLIENT = """
import json, sys
from {package} import Client
from {package}.api.default import predict
from {package}.models import PredictRequest, Refusal

row = json.loads(sys.argv[2])
client = Client(base_url=sys.argv[1])
answer = predict.sync(client=client, body=PredictRequest.from_dict({{"rows": [row, row]}}))
assert len(answer.predictions) == len(answer.prediction_id) == 2, answer
assert answer.model_version
bad = PredictRequest.from_dict({{"rows": [row]}})
bad.rows[0].distance = -1
refused = predict.sync_detailed(client=client, body=bad)
assert refused.status_code == 422 and isinstance(refused.parsed, Refusal), refused
assert refused.parsed.problems[0].field == "distance", refused
"""


@pytest.fixture(scope="module")
def running(trained_project: Path, env: Mapping[str, str]) -> Iterator[Running]:
    """Serve the default project."""
    with make_serve(trained_project, env) as served:
        yield served


@pytest.fixture
def url(running: Running) -> str:
    """Return its address."""
    return f"http://{running.service.address}"


def test_a_fuzzer_finds_nothing(
    running: Running, url: str, env: Mapping[str, str], tmp_path: Path
) -> None:
    version = running.service.get("/").body["model_version"]
    (status,) = running.service.get(TENSORFLOW).body["model_version_status"]
    told = Template(FUZZER_CONFIG.read_text()).substitute(version=version, number=status["version"])
    (tmp_path / "schemathesis.toml").write_text(told)
    options = ["--mode", "all", "--checks", "all", "--max-examples", str(EXAMPLES), "--seed", "1"]
    command = ["uv", "tool", "run", "--from", FUZZER, "schemathesis", "run", f"{url}/docs.json"]
    done = run(tmp_path, *command, "--url", url, *options, env=env)
    assert done.returncode == 0, done.stdout
    assert "No issues found" in done.stdout


def test_a_generated_client_works(
    running: Running, url: str, env: Mapping[str, str], tmp_path: Path
) -> None:
    document = running.service.get("/docs.json").body
    for operation in (each for path in document["paths"].values() for each in path.values()):
        for media_type in UNKNOWN:
            operation.get("requestBody", {"content": {}})["content"].pop(media_type, None)
    (tmp_path / "docs.json").write_text(json.dumps(document))
    generate = ["openapi-python-client", "generate", "--path", "docs.json", "--meta", "none"]
    command = ["uv", "tool", "run", "--from", GENERATOR, *generate]
    command += ["--fail-on-warning", "--output-path", "client"]
    made = run(tmp_path, *command, env=env)
    assert made.returncode == 0, made.stdout
    script = tmp_path / "use.py"
    script.write_text(CLIENT.format(package="client"))
    needs = ["--with", "httpx", "--with", "attrs", "--with", "python-dateutil"]
    row = json.dumps(running.service.example_row())
    used = run(tmp_path, "uv", "run", "--no-project", *needs, "python", script, url, row, env=env)
    assert used.returncode == 0, used.stdout
