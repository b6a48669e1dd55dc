"""The folders of the repository, drawn and built in one place.

::

    models/                          MODELS_DIR
      <64 hex>                       a model file; its name is the SHA-256 of its bytes; read-only
      <64 hex>.onnx                  what intake made of a model, under the SHA-256 of its own bytes
      registry.sqlite3               the registry (and its -wal, -shm)
      .lock                          held by the process that owns the registry
      identity.key                   the server's own key, see `server.signing.identity`
      .part-<16 hex>                 a file on its way to its name; removed at the next start
      quarantine/                    what `fsck --repair` set aside; never looked at
    uploads_tmp/                     UPLOADS_DIR, on the same file system
      <32 hex>.upload                a complete upload that waits for a sweep
      <any other name>               a file that somebody put here by hand; judged like an upload
      .partial-<32 hex>              an upload that comes in parts, so far; see `partials`
      .partial-<32 hex>.json         whose it is and what it should become
      .<any other name>              never looked at

A model is reachable under its digest or not at all: files get their name by a link, whole and on
disk.
"""

import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from server.digest import Digest
from server.repository import fsops
from server.repository.fsops import Disk

UPLOAD_NAME = re.compile(r"[0-9a-f]{32}\.upload")
_MODEL_NAME = re.compile(r"[0-9a-f]{64}")
_DERIVED = ".onnx"
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_PARTIAL, _NOTE = ".partial-", ".json"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie.

    Attributes
    ----------
    models : Path
        Folder of the store.
    uploads : Path
        Folder of staging.
    disk : Disk
        What both lie on.
    """

    models: Path
    uploads: Path
    disk: Disk = field(default_factory=Disk, compare=False, repr=False)

    @property
    def lock(self) -> Path:
        """The file whose lock says that a process owns the registry."""
        return self.models / ".lock"

    @property
    def identity(self) -> Path:
        """The server's own key."""
        return self.models / "identity.key"

    def model(self, digest: Digest) -> Path:
        """Return the only path of a model file."""
        return self.models / digest.hex

    @property
    def quarantine(self) -> Path:
        """The folder of what was set aside."""
        return self.models / "quarantine"

    def derived(self, digest: Digest) -> Path:
        """Return the only path of a derived file."""
        return self.models / f"{digest.hex}{_DERIVED}"

    def all_derived(self) -> list[Digest]:
        """List the digests of the derived files that are here, in order."""
        names = (name for name in self.disk.names(self.models) if name.endswith(_DERIVED))
        stems = (name.removesuffix(_DERIVED) for name in names)
        return [Digest.parse(stem) for stem in stems if _MODEL_NAME.fullmatch(stem)]

    def new_upload(self) -> Path:
        """Return an unused name for a complete upload."""
        return self.uploads / f"{secrets.token_hex(16)}.upload"

    def partial(self, upload: str) -> Path:
        """Return the path of an upload that comes in parts."""
        return self.uploads / f"{_PARTIAL}{upload}"

    def partial_note(self, upload: str) -> Path:
        """Return the path of what is noted of such an upload."""
        return self.uploads / f"{_PARTIAL}{upload}{_NOTE}"

    def partials(self) -> tuple[set[str], set[str]]:
        """List the uploads that come in parts: those that have bytes, and those that have notes."""
        names = [name for name in self.disk.names(self.uploads) if name.startswith(_PARTIAL)]
        ids = [name.removeprefix(_PARTIAL) for name in names]
        bare = {upload for upload in ids if _UPLOAD_ID.fullmatch(upload)}
        noted = {upload.removesuffix(_NOTE) for upload in ids if upload.endswith(_NOTE)}
        return bare, {upload for upload in noted if _UPLOAD_ID.fullmatch(upload)}

    def stored(self) -> list[Digest]:
        """List the digests that have a file in the store, in order."""
        names = self.disk.names(self.models)
        return [Digest.parse(name) for name in names if _MODEL_NAME.fullmatch(name)]

    def staged(self) -> list[str]:
        """List the names in staging that a sweep looks at, in order."""
        return [name for name in self.disk.names(self.uploads) if not name.startswith(".")]

    def faults(self) -> list[str]:
        """Make the folders and say why they cannot serve, in one sentence each."""
        found = []
        for setting, folder in (("MODELS_DIR", self.models), ("UPLOADS_DIR", self.uploads)):
            try:
                fsops.make_folders(self.disk, folder)
                _try_link(self.disk, folder, folder)
            except OSError as error:
                found.append(f"{setting}={folder}: cannot be written ({error.strerror})")
        if found:
            return found
        if self.disk.is_same(self.models, self.uploads):
            found.append(
                "UPLOADS_DIR and MODELS_DIR must be two folders: a sweep empties the first"
            )
        else:
            try:
                _try_link(self.disk, self.uploads, self.models)
            except OSError as error:
                found.append(
                    f"UPLOADS_DIR={self.uploads} and MODELS_DIR={self.models} must be on one file "
                    f"system, because promotion links files ({error.strerror})"
                )
        return found


def _try_link(disk: Disk, source: Path, target: Path) -> None:
    """Write a file in `source` and link it into `target`, then remove it.

    Raises
    ------
    OSError
        If the folders cannot be written, or a link between them cannot be made.
    """
    file = fsops.NewFile(disk, source)
    name = fsops.part_name(target)
    try:
        file.link(name)
    finally:
        file.close()
        disk.unlink(name)
