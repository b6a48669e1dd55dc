"""Host a model and ask it: `python examples/own_model/host.py MODEL MANIFEST SONG...`.

The server, and who asks, are named by the environment: BASE_URL, CA_FILE, SIGNING_TOKEN.
"""

# %% The model is registered by its digest, sent, and judged

import sys
from pathlib import Path

from spectrogrampredictor import Client, verify_receipt

model_file, manifest, *songs = map(Path, sys.argv[1:])
client = Client.from_env()
keys = client.receipt_keys()
model = client.push(model_file, manifest)
print(f"{model.state}: {model.engine}, {', '.join(model.labels or ())}")

# %% Each song gets an answer that can be proved later

for song in songs:
    answer = client.predict(model, song, receipt=True)
    stated = verify_receipt(
        answer.receipt or "", keys, answer=answer.body, sound=song.read_bytes(), model=model.digest
    )
    told = ", ".join(f"{one.label} {one.probability:.3f}" for one in answer.top(3))
    print(f"{song.name}: {told}; signed {stated.time}")
client.close()
