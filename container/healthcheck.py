"""Ask the API port of this container whether its server lives; exit 0 or 1, with one line of why.

It speaks TLS and trusts the certificates in the server's own file and no other, whoever signed them
and whatever names they carry: the question is not who the server is, it runs beside this script.
It uses nothing but the standard library.
"""

import http.client
import os
import ssl
import sys
from pathlib import Path

_TIMEOUT_S = 4


def main() -> int:
    """Ask once and return the exit status."""
    host, _, port = os.environ.get("API_BIND", "0.0.0.0:443").rpartition(":")
    certificate = Path(os.environ.get("CERTS_DIR", "/certs")) / "server.crt"
    try:
        connection = http.client.HTTPSConnection(
            _reachable(host.strip("[]")),
            int(port),
            timeout=_TIMEOUT_S,
            context=_trusting(certificate),
        )
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"/livez on port {port}: {error}", file=sys.stderr)
        return 1
    print(f"/livez on port {port}: {status}")
    return 0 if status == http.client.OK else 1


def _reachable(host: str) -> str:
    """Return the address to ask where the server listens on every one."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def _trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cafile=certificate)
    return context


if __name__ == "__main__":
    sys.exit(main())
