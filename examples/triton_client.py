r"""Ask a model with the stock client of Triton: a song as it is, or numbers.

    pip install "tritonclient[http]" httpx itsdangerous
    BASE_URL=https://models.example CA_FILE=server.crt SIGNING_TOKEN=... \
        MODEL_DIGEST=<64 hex> SONG=song.flac python examples/triton_client.py

The client can only set headers, so a signed call makes a bearer token first.
"""

import os
import secrets
import ssl
import time
from pathlib import Path

import gevent.ssl
import httpx
import itsdangerous
import numpy as np
import tritonclient.http as triton

API, CA_FILE = os.environ["BASE_URL"], os.environ["CA_FILE"]
DIGEST, SONG = os.environ["MODEL_DIGEST"], Path(os.environ["SONG"])


def bearer() -> dict[str, str]:
    """Return the header of a token that is good for ten minutes."""
    payload = {
        "scopes": ["predict", "read"],
        "_path": "/v1/tokens",
        "_ts": int(time.time()),
        "_nonce": secrets.token_urlsafe(16),
    }
    signed = itsdangerous.Serializer(os.environ["SIGNING_TOKEN"]).dumps(payload)
    trust = ssl.create_default_context(cafile=CA_FILE)
    answer = httpx.post(API + "/v1/tokens", content=signed, verify=trust)
    answer.raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def main() -> None:
    """Send the song, and print its three likeliest genres."""
    headers = bearer()
    with triton.InferenceServerClient(
        API.removeprefix("https://"),
        ssl=True,
        ssl_options={"ca_certs": CA_FILE},
        ssl_context_factory=gevent.ssl.create_default_context,
    ) as client:
        client.load_model(DIGEST, headers=headers)
        assert client.is_model_ready(DIGEST, headers=headers)
        output = client.get_model_metadata(DIGEST, headers=headers)["outputs"][0]["name"]

        song = triton.InferInput("audio", [1, 1], "BYTES")
        song.set_data_from_numpy(np.array([[SONG.read_bytes()]], dtype=np.object_))
        three = triton.InferRequestedOutput(output, class_count=3)
        answer = client.infer(DIGEST, [song], outputs=[three], headers=headers)
        for text in answer.as_numpy(output)[0]:
            value, _, label = text.decode().split(":")
            print(f"{label:12} {float(value):.4f}")


if __name__ == "__main__":
    main()
