"""The Dockerfile and compose.yaml are what they should be; test_process.py runs the commands of the container."""

from __future__ import annotations

import re
from fnmatch import fnmatch

import yaml
from tests.helpers.dockerfile import ROOT, command, instructions

WORDS = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD"}


def test_the_image_is_built_from_slim_python_and_runs_as_an_ordinary_user() -> None:
    lines = instructions()
    assert {word for word, _ in lines} <= WORDS
    bases = [rest.partition(" ")[0] for word, rest in lines if word == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim", base) for base in bases)
    last = [word for word, _ in lines][::-1].index("FROM")
    final = lines[-last:]
    user = next(rest for word, rest in final if word == "USER")
    assert user.isdigit()
    assert int(user) > 0
    assert [word for word, _ in final].index("USER") < [word for word, _ in final].index("CMD")
    assert command("CMD")[:2] == ["fusecast", "serve"]
    assert "healthz" in command("HEALTHCHECK")[-1]


def test_torch_is_the_pinned_version_of_an_index_that_is_named_at_the_build() -> None:
    assert re.search(r"^torch==", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    installs = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert installs[0].endswith("${TORCH_INDEX:+--index-url $TORCH_INDEX} torch")
    assert ("ARG", "TORCH_INDEX=") in instructions()
    assert not any("://" in rest for rest in installs)
    assert all("-c constraints.txt" in rest for rest in installs)


def test_what_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists()
                assert f"!{name}" in ignored
    assert ignored[0] == "*"
    assert not any(fnmatch(".env", line.removeprefix("!")) for line in ignored[1:])


def test_compose_publishes_ports_of_this_machine_alone() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert set(compose) == {"services", "volumes"}
    services = compose["services"]
    for service in services.values():
        assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in service["ports"])
        named = [volume.partition(":")[0] for volume in service["volumes"] if not volume.startswith((".", "$"))]
        assert set(named) <= set(compose["volumes"])
    server = services["fusecast"]
    environment = " ".join(rest for word, rest in instructions() if word == "ENV").split()
    assert f"XDG_CACHE_HOME={server['volumes'][1].partition(':')[2]}" in environment
    assert server["read_only"]
    assert server["cap_drop"] == ["ALL"]
    assert "/model:ro" in server["volumes"][0]
    assert f"model={server['volumes'][0].split(':')[-2]}" in command("CMD")
    port = command("CMD")[command("CMD").index("--port") + 1]
    assert server["ports"][0].endswith(f":{port}")
    config = next(volume for volume in services["prometheus"]["volumes"] if volume.startswith("./")).partition(":")[0]
    scraped = yaml.safe_load((ROOT / config).read_text(encoding="utf-8"))["scrape_configs"][0]
    assert scraped["static_configs"] == [{"targets": [f"fusecast:{port}"]}]
    assert scraped["metrics_path"] == "/metrics"
