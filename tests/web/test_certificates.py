"""server/web/certificates.py: a good pair is taken over, a bad one leaves the old."""

import os
import shutil
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from server.devcert import make_certificates
from server.web.certificates import Certificates, TlsFault

HTTP2 = ("h2", "http/1.1")
Renew = Callable[[Path], None]
Key = ec.EllipticCurvePrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_certificates(tmp_path / "certs", ["localhost"])
    return tmp_path / "certs"


def renew(folder: Path, *, days: int = 30, since: int = -1, key: Key | None = None) -> None:
    """Replace both files by a new pair that signs itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=since))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for path, content in (
        ("server.key", secret),
        ("server.crt", certificate.public_bytes(serialization.Encoding.PEM)),
    ):
        (folder / "new").write_bytes(content)
        (folder / "new").replace(folder / path)


def serial(pem: bytes) -> int:
    return x509.load_pem_x509_certificate(pem).serial_number


def shown(certificates: Certificates, *, name: str | None = "localhost") -> int:
    """Shake hands with the listening context and return the serial number that it shows."""
    ours, theirs = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def serve() -> None:
        with certificates.context(HTTP2).wrap_socket(theirs, server_side=True) as tls:
            tls.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with context.wrap_socket(ours, server_hostname=name) as tls:
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        tls.sendall(b"x")
        thread.join()
    return x509.load_der_x509_certificate(der).serial_number


@pytest.mark.parametrize("name", ["localhost", None], ids=["named", "not named"])
def test_a_renewed_pair_is_shown(folder: Path, name: str | None) -> None:
    certificates = Certificates(folder, HTTP2)
    old = shown(certificates, name=name)
    renew(folder)
    assert shown(certificates, name=name) == old  # until it is looked at
    certificates.check()
    new = shown(certificates, name=name)
    assert new == serial((folder / "server.crt").read_bytes()) != old
    assert certificates.state()["cert_reload"] == "ok"


def _truncate(folder: Path) -> None:
    whole = (folder / "server.crt").read_bytes()
    (folder / "server.crt").write_bytes(whole[:200])


def _garbage(folder: Path) -> None:
    (folder / "server.key").write_bytes(b"garbage")


def _another_key(folder: Path) -> None:
    make_certificates(folder / "other", ["localhost"])
    shutil.copy(folder / "other" / "server.key", folder / "server.key")


def _missing(folder: Path) -> None:
    (folder / "server.crt").unlink()


def _empty(folder: Path) -> None:
    (folder / "server.crt").write_bytes(b"")


def _pipe(folder: Path) -> None:
    (folder / "server.key").unlink()
    os.mkfifo(folder / "server.key")


def _expired(folder: Path) -> None:
    renew(folder, days=-1, since=-30)


def _early(folder: Path) -> None:
    renew(folder, since=2)


def _spoilt_certificate(folder: Path) -> None:
    """Have it opened, but not read, as while it is replaced or on a failing disk."""
    (folder / "server.crt").unlink()
    (folder / "server.crt").symlink_to("/proc/self/mem")


def _spoilt_key(folder: Path) -> None:
    (folder / "server.key").unlink()
    (folder / "server.key").symlink_to("/proc/self/mem")


def _change(folder: Path, old: bytes, new: bytes) -> None:
    """Change bytes of the certificate, which its signature does not fit then."""
    whole = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    der = whole.public_bytes(serialization.Encoding.DER)
    assert der.count(old) == 1
    pem = ssl.DER_cert_to_PEM_cert(der.replace(old, new))
    (folder / "server.crt").write_text(pem)


def _year_0(folder: Path) -> None:
    renew(folder, days=365 * 40)
    whole = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    end = whole.not_valid_after_utc.strftime("%Y%m%d%H%M%SZ").encode()
    _change(folder, end, b"0000" + end[4:])


def _version_2(folder: Path) -> None:
    _change(folder, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01")


def _dsa(folder: Path) -> None:
    renew(folder, key=dsa.generate_private_key(2048))


def _brainpool(folder: Path) -> None:
    renew(folder, key=ec.generate_private_key(ec.BrainpoolP256R1()))


def _koblitz(folder: Path) -> None:
    renew(folder, key=ec.generate_private_key(ec.SECP256K1()))


SPOILT: list[Renew] = [_missing, _empty, _pipe, _spoilt_certificate, _spoilt_key]
USELESS: list[Renew] = [_year_0, _version_2, _dsa, _brainpool, _koblitz]
BROKEN: list[Renew] = [_truncate, _garbage, _another_key, *SPOILT, *USELESS]
BAD: list[Renew] = [*BROKEN, _expired, _early]


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_bad_pair_leaves_the_old(folder: Path, spoil: Renew) -> None:
    certificates = Certificates(folder, HTTP2)
    old, until = shown(certificates), certificates.state()["cert_not_after"]
    spoil(folder)
    certificates.check()
    assert shown(certificates) == old
    assert certificates.state() == {"cert_not_after": until, "cert_reload": "failed"}


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_good_pair_after_a_bad_one_is_shown(folder: Path, spoil: Renew) -> None:
    certificates = Certificates(folder, HTTP2)
    spoil(folder)
    certificates.check()
    renew(folder)
    certificates.check()
    assert shown(certificates) == serial((folder / "server.crt").read_bytes())
    assert certificates.state()["cert_reload"] == "ok"


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["rsa", "ed25519", "p-384", "p-521"],
)
def test_a_pair_of_another_kind_is_shown(folder: Path, key: Key) -> None:
    certificates = Certificates(folder, HTTP2)
    renew(folder, key=key)
    certificates.check()
    assert shown(certificates) == serial((folder / "server.crt").read_bytes())


def test_a_pair_that_is_renewed_file_by_file_is_taken_when_it_is_whole(folder: Path) -> None:
    certificates = Certificates(folder, HTTP2)
    new = folder.parent / "renewed"
    new.mkdir()
    renew(new)
    shutil.copy(new / "server.crt", folder / "server.crt")
    certificates.check()
    assert certificates.state()["cert_reload"] == "failed"
    shutil.copy(new / "server.key", folder / "server.key")
    certificates.check()
    assert certificates.state()["cert_reload"] == "ok"


def test_files_that_did_not_change_are_not_read_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(folder, HTTP2)
    with caplog.at_level("INFO"):
        certificates.check()
    assert caplog.records == []


def test_an_expired_certificate_at_the_start_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renew(folder, days=-1, since=-30)
    Certificates(folder, HTTP2)
    assert "not valid now" in caplog.text


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_bad_pair_at_the_start_is_refused(folder: Path, spoil: Renew) -> None:
    spoil(folder)
    with pytest.raises(TlsFault):
        Certificates(folder, HTTP2)
