"""Upload a registered model on the second port; no signature, so the file is streamed from disk."""

import os
import ssl
from pathlib import Path

import httpx

trust = ssl.create_default_context(cafile=os.environ["CA_FILE"])

with Path(os.environ["MODEL"]).open("rb") as file:
    answer = httpx.post(
        os.environ["UPLOAD_URL"] + "/nodemodeluploads",
        files={"model": ("model", file, "application/octet-stream")},
        verify=trust,
        timeout=600,
    )
print(answer.status_code, answer.json()["message"])
