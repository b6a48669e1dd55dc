"""Predict the genre of a song; with CSV set, from that file's 58 features and the song."""

import base64
import hashlib
import os
import ssl
from pathlib import Path

import httpx
import itsdangerous

trust = ssl.create_default_context(cafile=os.environ["CA_FILE"])
serializer = itsdangerous.Serializer(os.environ["SIGNING_TOKEN"])

song = Path(os.environ["SONG"])
payload = {
    "model_hash": hashlib.sha256(Path(os.environ["MODEL"]).read_bytes()).hexdigest(),
    "ext": song.suffix[1:],
    "data": base64.b64encode(song.read_bytes()).decode(),
}
if csv := os.environ.get("CSV"):
    payload["csv"] = base64.b64encode(Path(csv).read_bytes()).decode()
answer = httpx.post(
    os.environ["BASE_URL"] + "/prediction",
    content=serializer.dumps(payload),
    verify=trust,
    timeout=120,  # a model that was just uploaded is judged and loaded first
)
print(answer.status_code, answer.json())
