"""Register a model's SHA-256, so that its file may become a model."""

import hashlib
import os
import ssl
from pathlib import Path

import httpx
import itsdangerous

trust = ssl.create_default_context(cafile=os.environ["CA_FILE"])
serializer = itsdangerous.Serializer(os.environ["SIGNING_TOKEN"])

model_hash = hashlib.sha256(Path(os.environ["MODEL"]).read_bytes()).hexdigest()
answer = httpx.post(
    os.environ["BASE_URL"] + "/registermodelhash",
    content=serializer.dumps({"hash": model_hash}),
    verify=trust,
)
print(answer.status_code, answer.json()["msg"])
