"""Certificates for development: an authority of one's own and a server certificate that it signs.

::

    ca.pem       what clients trust (CA_FILE)          0644
    server.crt   the server's certificate, then ca.pem 0644
    server.key   its private key                       0600

The authority's key is thrown away: nobody can sign a second certificate with it.
"""

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 365  # Mozilla: 366 at most


def make_certificates(folder: Path, hosts: Sequence[str]) -> None:
    """Write `ca.pem`, `server.crt` and `server.key`.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    hosts : sequence of str
        Names and addresses that the certificate is good for.

    Raises
    ------
    FileExistsError
        If `server.key` is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _authority(ca_key)
    leaf = _leaf(ca, ca_key, key, hosts)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = ca.public_bytes(serialization.Encoding.PEM)
    _write(folder / "server.key", secret, 0o600, new=True)
    _write(folder / "server.crt", leaf.public_bytes(serialization.Encoding.PEM) + pem, 0o644)
    _write(folder / "ca.pem", pem, 0o644)


def _write(path: Path, data: bytes, mode: int, *, new: bool = False) -> None:
    exclusive = os.O_EXCL if new else os.O_TRUNC
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | exclusive, mode), "wb") as file:
        file.write(data)


def _builder(name: str, issuer: str) -> x509.CertificateBuilder:
    now = datetime.now(UTC) - timedelta(minutes=5)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=_DAYS))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


_AUTHORITY = "spectrogrampredictor development authority"


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return (
        _builder(_AUTHORITY, _AUTHORITY)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    hosts: Sequence[str],
) -> x509.Certificate:
    names = [_general_name(host) for host in hosts]
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(hosts[0], _AUTHORITY)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(server, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issuer, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
