"""What is taken while the process still has its rights: sockets, certificate and its key.

The file of keys is opened after them, because it is read again whenever it changes.
"""

import os
import socket
from pathlib import Path
from typing import Any

from server import privileges
from server.repository.layout import Layout
from server.setting_values import Bind
from server.settings import Settings, SettingsFault
from server.signing.identity import Identity, IdentityFault
from server.signing.keyfile import KeyFault, KeyFile
from server.web.certificates import Certificates, TlsFault
from server.web.doors import Doors
from server.web.listener import HTTP1, HTTP2_AND_1, bind


class Ports:
    """What is taken while the process still has its rights: sockets, certificate and key.

    Parameters
    ----------
    settings : Settings
        As read.
    faults : list of str
        Found so far; all that is found here is added before anything is raised.

    Raises
    ------
    SettingsFault
        Naming every fault.
    """

    def __init__(self, settings: Settings, faults: list[str]) -> None:
        self.layout = Layout(settings.models_dir, settings.uploads_dir)
        try:
            self.certificates = Certificates(settings.certs_dir, HTTP2_AND_1, HTTP1)
        except TlsFault as error:
            faults.append(str(error))
        self.doors = Doors(settings.max_connections, settings.max_connections_of_one)
        self.sockets: list[socket.socket] = []
        binds = (("API_BIND", settings.api_bind), ("UPLOAD_BIND", settings.upload_bind))
        for name, address in binds:
            try:
                self.sockets.append(bind(address.host, address.port))
            except OSError as error:
                faults.append(f"{name}={address}: {error.strerror}{_remedy(error)}")
        if not faults:
            owned = [settings.models_dir, settings.uploads_dir]
            faults += privileges.drop(settings.run_as, owned=owned)
        if not privileges.is_pending(settings.run_as):  # root would judge otherwise than the user
            faults += self.layout.faults()
        try:
            self.keys = _keys(settings)
        except KeyFault as error:
            faults.append(f"KEYS_FILE={settings.keys_file}: {error}")
        if not faults:
            faults += self._open_identity()
        if faults:
            raise SettingsFault(faults)

    def _open_identity(self) -> list[str]:
        try:
            self.identity = Identity.open(self.layout.identity)
        except IdentityFault as error:
            return [f"{self.layout.identity}: {error}"]
        return []

    @property
    def addresses(self) -> list[str]:
        """The two base URLs, with the ports that the system chose."""
        names = [sock.getsockname()[:2] for sock in self.sockets]
        return [f"https://{Bind(host, port)}" for host, port in names]

    def state(self) -> dict[str, Any]:
        """Return how connections and certificate are, for `/readyz`."""
        counted = {"connections": self.doors.inside, "turned_away": self.doors.turned_away}
        return {**self.certificates.state(), **counted}


def _keys(settings: Settings) -> KeyFile:
    path = Path(settings.keys_file) if settings.keys_file else None
    return KeyFile(path, settings.signing_tokens)


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"; start as root, or let user {os.geteuid()} bind it (CAP_NET_BIND_SERVICE)"
    return ""
