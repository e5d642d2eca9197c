"""Write the secret files that compose.yaml mounts: passwords, keys, a caller and a self-signed certificate.

Existing files are kept, so that running it again never locks anybody out of their data. The folder is
private to its owner; the files in it are readable, because inside a container another user reads them.
"""

import base64
import datetime
import hashlib
import secrets
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FOLDER = Path(__file__).resolve().parent.parent / "secrets"
VAULT_KEY_BYTES = 96  # the size of a local master key of MongoDB's client-side encryption
CERTIFICATE_DAYS = 397  # what clients accept at most from a public authority, as good a limit as any


def write(name: str, content: Callable[[], bytes]) -> bytes:
    """Return the content of the secret ``name``, made first if it does not exist."""
    path = FOLDER / name
    if not path.exists():
        path.write_bytes(content())
        path.chmod(0o444)
        print(f"wrote {path.relative_to(FOLDER.parent)}")
    return path.read_bytes()


def caller(token: bytes) -> str:
    """Return the callers file that lets an administrator in with ``token``."""
    return (
        "[[callers]]\n"
        'name = "admin"\n'
        f'token_sha256 = "{hashlib.sha256(token).hexdigest()}"\n'
        'roles = ["ADMIN"]\n'
        'schools = ["*"]\n'
    )


def private_key() -> bytes:
    """Return a new P-256 key as PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate(key_pem: bytes) -> bytes:
    """Return a certificate for localhost and for the name of the service, signed by its own key, as PEM."""
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("secrets/tls_key: not an elliptic curve key; bring its certificate too")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "schoolgate")])
    names = [x509.DNSName("localhost"), x509.DNSName("schoolgate"), x509.IPAddress(ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)  # noqa: TID251 -- a certificate starts at the real time
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def main() -> None:
    """Write what is missing."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    FOLDER.chmod(0o700)
    password = write("mongo_password", lambda: secrets.token_hex(24).encode())
    write("mongo_keyfile", lambda: base64.b64encode(secrets.token_bytes(756)))
    uri = f"mongodb://schoolgate:{password.decode()}@mongo:27017/?replicaSet=rs0&authSource=admin"
    write("config.toml", f'[mongo]\nuri = "{uri}"\n'.encode)
    token = write("admin_token", lambda: secrets.token_urlsafe(32).encode())
    write("callers.toml", lambda: caller(token).encode())
    write("vault_key", lambda: base64.b64encode(secrets.token_bytes(VAULT_KEY_BYTES)))
    key = write("tls_key", private_key)
    write("tls_certificate", lambda: certificate(key))


if __name__ == "__main__":
    main()
