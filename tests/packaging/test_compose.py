"""compose.yaml, checked without a container engine: names, settings, secrets and commands are real."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import BaseModel

from schoolgate_bromcom.simulator.command import parse_options
from schoolgate_server.cli.app import app
from schoolgate_server.rpc.callers import CallersFile
from schoolgate_server.settings import CONFIG_VARIABLE, ListenSettings, Settings, load_settings
from schoolgate_server.vault_key import KEY_BYTES, local_key
from tests.packaging.installing import ROOT, Workshop, server_environment
from tests.packaging.serving import needs_embedded_mongod, serving

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("schoolgate")}

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make secrets` writes."""
    spec = importlib.util.spec_from_file_location("compose_secrets", ROOT / "scripts" / "compose_secrets.py")
    assert spec is not None
    assert spec.loader is not None
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    script.FOLDER = folder
    script.main()
    return folder


def mounted(environment: Mapping[str, str], secrets: Path) -> dict[str, str]:
    """Return a service's environment with its secrets where this machine has them."""
    return {name: str(value).replace("/run/secrets", str(secrets)) for name, value in environment.items()}


def server_variables() -> Iterator[str]:
    yield CONFIG_VARIABLE
    for group, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from (f"SCHOOLGATE_{group}__{name}".upper() for name in kind.model_fields)
        else:
            yield f"SCHOOLGATE_{group}".upper()


def client_variables(command: Any) -> Iterator[str]:
    """Yield the variables that options read; the types are private to typer."""
    for child in getattr(command, "commands", {}).values():
        yield from client_variables(child)
    yield from (parameter.envvar for parameter in command.params if parameter.envvar)


@each_of_ours
def test_every_variable_is_a_setting(name: str) -> None:
    known = {*server_variables(), *client_variables(typer.main.get_command(app))}
    assert {"SCHOOLGATE_LISTEN__PORT", "SCHOOLGATE_CONNECTORS", "SCHOOLGATE_SERVER"} <= known
    assert set(SERVICES[name].get("environment", {})) <= known


@each_service
def test_what_a_service_refers_to_is_defined(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert set(service.get("networks", [])) <= set(COMPOSE["networks"])
    assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
    needed = service.get("depends_on", {})
    assert set(needed) <= set(SERVICES)
    for other in () if isinstance(needed, list) else needed:
        # "service_healthy" would never come true; our image brings a check along.
        assert needed[other]["condition"] == "service_healthy"
        assert other in OURS or "test" in SERVICES[other]["healthcheck"]
        assert not SERVICES[other].get("healthcheck", {}).get("disable")


@each_service
def test_secret_files_that_are_named_are_mounted(name: str) -> None:
    service = SERVICES[name]
    words = str([service.get(part) for part in ("environment", "command", "healthcheck")])
    assert set(re.findall(r"/run/secrets/([\w.]+)", words)) <= set(service.get("secrets", []))


@each_of_ours
def test_our_containers_are_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["build"]


def test_only_grpc_is_published_and_only_here() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    port = ListenSettings().port
    assert published == {"schoolgate": [f"127.0.0.1:{port}:{port}"]}


def test_the_simulators_command_is_understood() -> None:
    command, connector, *options = SERVICES["bromcom"]["command"]
    assert (command, connector) == ("simulate", "bromcom")
    parsed = parse_options(options)
    assert (parsed.host, parsed.port) == ("0.0.0.0", 8080)


def test_make_secrets_writes_what_is_mounted(secrets: Path) -> None:
    wanted = {name: Path(secret["file"]) for name, secret in COMPOSE["secrets"].items()}
    assert {path.parent for path in wanted.values()} == {Path("secrets")}
    assert {path.name for path in secrets.iterdir()} == {path.name for path in wanted.values()}


def test_the_services_settings_are_accepted(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = SERVICES["schoolgate"]
    for name, value in mounted(service["environment"], secrets).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.mongo.uri is not None
    assert settings.listen.address == "0.0.0.0"
    assert len(local_key(settings.vault, None, lambda length: b"")) == KEY_BYTES
    assert settings.auth.callers_file is not None
    token = (secrets / "admin_token").read_text()
    assert CallersFile(settings.auth.callers_file).identify(f"Bearer {token}").name == "admin"
    seconds = int(service["stop_grace_period"].removesuffix("s"))
    assert seconds > settings.listen.drain_s


@needs_embedded_mongod
@pytest.mark.mongod
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("packaging: installed server")
def test_health_check_and_command_line_get_through(workshop: Workshop, secrets: Path, tmp_path: Path) -> None:
    """Serve with compose's TLS and callers, and ask as its health check and as its `cli` service."""
    server_side = mounted(SERVICES["schoolgate"]["environment"], secrets)
    health = {name: server_side.pop(name) for name in ("SCHOOLGATE_SERVER", "SCHOOLGATE_CA")}
    del server_side[CONFIG_VARIABLE], server_side["SCHOOLGATE_LISTEN__ADDRESS"]  # its MongoDB, the network
    installed = server_environment(workshop)
    with serving(installed, tmp_path, settings=server_side) as server:
        here = "localhost:" + server.target.rpartition(":")[2]
        assert health["SCHOOLGATE_SERVER"].partition(":")[0] == "localhost"
        assert server.told("health", **health | {"SCHOOLGATE_SERVER": here}).strip() == "serving"
        client = mounted(SERVICES["cli"]["environment"], secrets) | {"SCHOOLGATE_SERVER": here}
        assert "bromcom" in server.told("connectors", **client)
        without_token = server.ask("connectors", **health | {"SCHOOLGATE_SERVER": here})
        assert "TOKEN_INVALID" in without_token.stderr
