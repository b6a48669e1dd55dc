"""Upload a signed model on the first port: this registers and stores it in one step."""

import os
import ssl
from pathlib import Path

import httpx
import itsdangerous

trust = ssl.create_default_context(cafile=os.environ["CA_FILE"])
signer = itsdangerous.Signer(os.environ["SIGNING_TOKEN"])

signed = signer.sign(Path(os.environ["MODEL"]).read_bytes())
answer = httpx.post(
    os.environ["BASE_URL"] + "/uploadmodel",
    files={"model": ("model", signed, "application/octet-stream")},
    verify=trust,
    timeout=600,
)
print(answer.status_code, answer.json())
