"""The service with TLS and callers, which is how it may be reached from elsewhere."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schoolgate_server.rpc.callers import hash_token
from tests.e2e.conftest import Service, service

pytestmark = [pytest.mark.mongod, pytest.mark.slow, pytest.mark.xdist_group("e2e")]

TOKEN = "an-operators-token"
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self.path = folder / "authority.pem"
        certificate = self._issue(self._name, self._key.public_key(), authority=True)
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _issue(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool = False
    ) -> x509.Certificate:
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(START)
            .not_valid_after(START + datetime.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Return the files of a new certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        paths = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        paths[0].write_bytes(self._issue(subject, key.public_key()).public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Generator[Service]:
    folder = tmp_path_factory.mktemp("guarded")
    callers = folder / "callers.toml"
    callers.write_text(
        f'[[callers]]\nname = "ops"\ntoken_sha256 = "{hash_token(TOKEN)}"\n'
        'roles = ["OPERATOR"]\nschools = ["oak"]\n'
    )
    certificate, key = authority.certificate("server")
    settings = {
        "SCHOOLGATE_LISTEN__TLS_CERTIFICATE": str(certificate),
        "SCHOOLGATE_LISTEN__TLS_KEY": str(key),
        "SCHOOLGATE_LISTEN__TLS_CLIENT_AUTHORITY": str(authority.path),
        "SCHOOLGATE_AUTH__CALLERS_FILE": str(callers),
    }
    with service(folder, settings) as running:
        yield running


def grpcurl(
    path: str,
    guarded: Service,
    authority: Authority,
    *arguments: str,
    token: str | None = TOKEN,
    client: bool = True,
) -> subprocess.CompletedProcess[str]:
    options = ["-cacert", str(authority.path), "-format-error", "-max-time", "10"]
    if client:
        certificate, key = authority.certificate("client")
        options += ["-cert", str(certificate), "-key", str(key)]
    if token is not None:
        options += ["-H", f"authorization: Bearer {token}"]
    command = [path, *options, guarded.target, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_with_certificate_and_token(grpcurl_path: str, guarded: Service, authority: Authority) -> None:
    assert "schoolgate.v1.QueryService" in grpcurl(grpcurl_path, guarded, authority, "list").stdout
    done = grpcurl(grpcurl_path, guarded, authority, "schoolgate.v1.DiagnosticsService/ListConnectors")
    assert [c["name"] for c in json.loads(done.stdout)["connectors"]] == ["bromcom"]


def test_without_a_token_there_is_only_health(
    grpcurl_path: str, guarded: Service, authority: Authority
) -> None:
    done = grpcurl(grpcurl_path, guarded, authority, "list", token=None)
    assert done.returncode != 0
    assert "authorization: Bearer" in done.stderr


def test_role_and_school_are_checked(grpcurl_path: str, guarded: Service, authority: Authority) -> None:
    for method, request, reason in (
        ("SchoolService/CreateSchool", {"school": {"school_id": "oak"}}, "ROLE_MISSING"),
        ("SchoolService/GetSchool", {"school_id": "elm"}, "SCHOOL_FORBIDDEN"),
        ("SchoolService/GetSchool", {"school_id": "oak"}, "SCHOOL_NOT_FOUND"),
    ):
        path = f"schoolgate.v1.{method}"
        certificate, key = authority.certificate("client")
        command = [
            *(grpcurl_path, "-cacert", str(authority.path), "-cert", str(certificate), "-key", str(key)),
            *("-format-error", "-H", f"authorization: Bearer {TOKEN}", "-d", json.dumps(request)),
            *(guarded.target, path),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert json.loads(done.stderr)["details"][0]["reason"] == reason


def test_without_a_client_certificate_nobody_gets_in(
    grpcurl_path: str, guarded: Service, authority: Authority
) -> None:
    assert grpcurl(grpcurl_path, guarded, authority, "list", client=False).returncode != 0


def test_g16_tokens_are_not_in_the_log(guarded: Service) -> None:
    assert TOKEN not in guarded.log.read_text()


def starting(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHOOLGATE_")}
    environment |= {
        "SCHOOLGATE_EMBEDDED__DATA_DIR": str(tmp_path),
        "SCHOOLGATE_LISTEN__PORT": "0",
        **settings,
    }
    command = [sys.executable, "-m", "schoolgate_server.cli", "serve"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SCHOOLGATE_LISTEN__ADDRESS": "0.0.0.0"}, ["tls_certificate", "tls_key", "callers_file"]),
        ({"SCHOOLGATE_MONGO__URI": "mongodb://127.0.0.1:1"}, ["vault", "head -c 96"]),
        ({"SCHOOLGATE_MONGO__URI": "mongodb://u:hunter2@"}, ["vault"]),
        ({"SCHOOLGATE_LISTEN__PORT": "x"}, ["listen.port"]),
        ({"SCHOOLGATE_AUTH__CALLERS_FILE": "/nowhere"}, ["/nowhere"]),
    ],
)
def test_a_start_that_cannot_succeed_says_what_to_set(
    tmp_path: Path, settings: dict[str, str], said: list[str]
) -> None:
    done = starting(tmp_path, **settings)
    assert done.returncode == 1
    for word in said:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr
    assert not (tmp_path / "mongod").exists(), "nothing was started in vain"


def test_a_term_signal_ends_the_service_in_order(tmp_path: Path) -> None:
    with service(tmp_path, {}) as running:
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(40) == 0
    lines = [json.loads(line) for line in running.log.read_text().splitlines()]
    messages = [line["message"] for line in lines]
    assert messages.index("serving") < messages.index("stopping") < messages.index("stopped")
    assert not [line for line in lines if line["level"] in {"WARNING", "ERROR"}]
