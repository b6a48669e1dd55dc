"""Hold the notes of a hosted basic-pitch model against those of its own package.

    python -m benchmarks.notes_hosted PYTHON nmp.onnx SOUND...

A real server over TLS: the model is registered with a manifest, uploaded, judged and asked by jobs
of the task `midi`, as they come by default. PYTHON is an environment that has
basic-pitch (`benchmarks.notes_peer` says how it is made). F1 counts a note as right when its pitch
is and it begins within 50 ms. Exits with 1 if it is below 0.99 for a sound.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.serving import HOST, served
from server.notes.streaming import Note
from spectrogrampredictor import Client, SigningToken
from tests.notes.made import f1

LEAST_F1 = 0.99
_OUTPUT = "StatefulPartitionedCall"
MANIFEST = {
    "task": "midi",
    "outputs": {
        f"{_OUTPUT}:{k}": {"as": name} for k, name in enumerate(("contour", "note", "onset"))
    },
    "licence": "Apache-2.0",
}


def main() -> int:
    """Ask both about every sound, print how far they agree, and return the exit status."""
    python, model, *sounds = sys.argv[1:]
    worst = 1.0
    with served() as server, tempfile.TemporaryDirectory() as folder:
        server.start()
        url = f"https://{HOST}:{server.api}"
        with Client(url, SigningToken(server.token), ca_file=server.ca) as client:
            hosted = client.push(model, MANIFEST)
            print(f"{hosted.state}, {hosted.engine}")
            found = {sound: client.jobs.run("midi", sound, model=hosted) for sound in sounds}
        command = [python, "-m", "benchmarks.notes_peer", "sounds", folder, *sounds]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for sound, job in found.items():
            rows = json.loads((Path(folder) / f"{Path(sound).stem}.json").read_text())
            theirs = [Note(row[0], row[1], row[2], row[3]) for row in rows]
            ours = [
                Note(note["start_s"], note["end_s"], note["pitch"], note["amplitude"])
                for note in (job.outputs or {})["notes"]
            ]
            score = f1(ours, theirs)
            worst = min(worst, score)
            print(f"{Path(sound).name}: {len(theirs)} notes, ours {len(ours)}; F1 {score:.4f}")
    print(f"worst F1 {worst:.4f}")
    return 0 if worst >= LEAST_F1 else 1


if __name__ == "__main__":
    sys.exit(main())
