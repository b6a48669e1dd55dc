"""/v1/jobs: submitted, followed, cancelled, fetched; another's are not there."""

import hashlib
import io
import json
import tarfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.flows import sounds
from tests.flows.jobs import FILE, JOBS, Customer, read_events, started
from tests.flows.messages import key, with_token, write_keys
from tests.flows.running import (
    FORM_TYPE,
    Server,
    digest_of,
    file_part,
    multipart,
    problem_of,
    sign_payload,
    wait_until,
)
from tests.flows.test_v1_predictions import head

pytestmark = pytest.mark.timeout(240)
LAST = {"done", "failed", "cancelled"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    keys = [key("one"), key("two"), key("reader", "read"), key("predictor", "predict")]
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", *keys)
    return {"KEYS_FILE": str(path), "JOB_WORKERS": "1", "MAX_JOB_BYTES": str(64 << 20)}


@pytest.fixture(scope="module")
def one(server: Server) -> Customer:
    return Customer(server, "one")


@pytest.fixture(scope="module")
def two(server: Server) -> Customer:
    return Customer(server, "two")


@pytest.fixture(scope="module")
def tune() -> bytes:
    return sounds.encode(sounds.song(3.0))


@pytest.fixture(scope="module")
def long_sound() -> bytes:
    """Return four minutes, which take long enough to be met while they are done."""
    return sounds.encode(sounds.song(240.0))


@pytest.fixture(scope="module")
def done(one: Customer, tune: bytes) -> dict[str, Any]:
    return one.ended(one.submit(tune).json()["id"])


# submitting


def test_a_job_is_told_of_and_ends_with_a_result(done: dict[str, Any], tune: bytes) -> None:
    assert (done["state"], done["task"], done["model"]) == ("done", "midi", None)
    assert done["baseline"] == "salience-baseline"
    assert done["sound"] == {"sha256": digest_of(tune), "bytes": len(tune)}
    assert (done["attempts"], done["progress"], done["problem"]) == (1, 1.0, None)
    assert done["created"] <= done["started"] <= done["ended"] < done["expires"]
    result = done["result"]
    assert (result["task"], result["baseline"]) == ("midi", "salience-baseline")
    assert "model" not in result
    assert result["outputs"]["count"] == len(result["outputs"]["notes"]) > 0
    notes = result["artifacts"]["notes"]
    assert notes["href"] == f"/v1/jobs/{done['id']}/artifacts/notes.mid"
    assert notes["media_type"] == "audio/midi"


def test_the_first_answer_is_202_and_equal_content_is_200(
    one: Customer, two: Customer, tune: bytes
) -> None:
    query = "task=midi&min_note_ms=200"
    first = one.submit(tune, query)
    assert first.status_code == 202
    assert first.headers["location"] == f"{JOBS}/{first.json()['id']}"
    again = one.submit(tune, "min_note_ms=200.0&task=midi")  # the same number
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    other = two.submit(tune, query)
    assert other.status_code == 202, "nobody learns what others have"
    assert other.json()["id"] != first.json()["id"]
    mine, theirs = one.ended(first.json()["id"]), two.ended(other.json()["id"])
    assert mine["result"]["outputs"] == theirs["result"]["outputs"]


def test_a_client_may_wait_for_the_end(one: Customer, tune: bytes) -> None:
    answer = one.submit(tune, "task=midi&program=7", Prefer="respond-async, wait=60")
    assert (answer.status_code, answer.json()["state"]) == (200, "done")
    assert answer.headers["preference-applied"] == "wait=60"
    assert answer.json()["result"]["outputs"]["count"] > 0


def test_who_waits_too_shortly_hears_how_it_stands(one: Customer, long_sound: bytes) -> None:
    answer = one.submit(long_sound, Prefer="wait=1")
    assert (answer.status_code, answer.json()["result"]) == (202, None)
    one.ask("DELETE", answer.headers["location"])


def test_a_key_of_the_client_is_one_job_whatever_became_of_it(one: Customer, tune: bytes) -> None:
    first = one.submit(tune, "task=midi&program=9", Idempotency_Key="a").json()
    one.ask("DELETE", f"{JOBS}/{first['id']}")
    again = one.submit(tune, "task=midi&program=9", Idempotency_Key="a")
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    other = one.submit(tune, "task=midi&program=10", Idempotency_Key="a")
    assert problem_of(other, 422) == "idempotency-conflict"
    wrong = one.submit(tune, Idempotency_Key="a b")
    assert problem_of(wrong, 400) == "malformed-request"


def test_a_form_carries_the_sound_and_its_fields(
    one: Customer, tune: bytes, done: dict[str, Any]
) -> None:
    value = b'Content-Disposition: form-data; name="task"\r\n\r\nmidi'
    parts = [file_part(tune, field="sound", filename="a.wav"), value]
    for ordered in (parts, parts[::-1]):
        answer = one.ask("POST", JOBS, "", multipart(*ordered), content_type=FORM_TYPE)
        assert (answer.status_code, answer.json()["id"]) == (200, done["id"])
    wrong = [
        [value],
        [*parts, parts[0]],
        [*parts, value],
        [file_part(tune, field="songs"), value],
    ]
    for each in wrong:
        answer = one.ask("POST", JOBS, "", multipart(*each), content_type=FORM_TYPE)
        assert problem_of(answer, 400) == "malformed-form"
    twice = one.ask("POST", JOBS, "task=midi", multipart(*parts), content_type=FORM_TYPE)
    assert problem_of(twice, 400) == "malformed-request"


def test_dialect_1_signs_the_fields_in_its_header(server: Server, tune: bytes) -> None:
    with server.client() as http:
        signed = head(JOBS, tune, task="midi", program=11)
        answer = http.post(JOBS, content=tune, headers={"Signed-Request": signed})
        assert (answer.status_code, answer.json()["parameters"]["program"]) == (202, 11)
        signed = head(JOBS, tune)
        unsigned = http.post(f"{JOBS}?task=midi", content=tune, headers={"Signed-Request": signed})
        assert problem_of(unsigned, 400) == "malformed-request"
        path = answer.headers["location"]
        look = http.get(path, headers={"Signed-Request": head(path, b"")})
        assert look.json()["id"] == answer.json()["id"]
        altered = http.post(
            JOBS,
            content=tune[:-1] + b"x",
            headers={"Signed-Request": head(JOBS, tune, task="midi")},
        )
        assert problem_of(altered, 401) == "bad-signature"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("", "`task` is one of"),
        ("task=genre", "`task` is one of"),
        ("task=midi&program=128", "`program` is a whole number from 0 to 127"),
        ("task=midi&program=1.5", "`program` is a whole number from 0 to 127"),
        ("task=midi&min_hz=nan", "`min_hz` is a number"),
        ("task=midi&end=never", "`end` is one of ['auto', 'heard', 'dropped']"),
        ("task=midi&volume=1", "has no parameters ['volume']; it has"),
        ("task=midi&priority=11", "`priority` is from -10 to 10"),
        ("task=midi&priority=high", "`priority` is from -10 to 10"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(
    one: Customer, tune: bytes, query: str, named: str
) -> None:
    answer = one.submit(tune, query)
    assert problem_of(answer, 400) == "malformed-request"
    assert named in answer.json()["detail"]


def test_a_model_that_is_not_there_is_refused(one: Customer, tune: bytes) -> None:
    assert problem_of(one.submit(tune, f"task=midi&model={'0' * 64}"), 404) == "model-not-found"
    assert problem_of(one.submit(tune, "task=midi&model=best"), 404) == "alias-not-found"


def test_a_sound_that_is_too_large_is_refused(one: Customer, server: Server) -> None:
    answer = one.submit(bytes((64 << 20) + 1))
    assert problem_of(answer, 413) == "body-too-large"
    assert not [
        path for path in (server.models / "jobs").iterdir() if path.stat().st_size > 1 << 24
    ]


def test_what_is_no_sound_fails_at_once_with_its_reason(one: Customer) -> None:
    told = one.ended(one.submit(b"no sound at all").json()["id"])
    assert (told["state"], told["attempts"], told["result"]) == ("failed", 1, None)
    assert told["problem"]["type"] == "/problems/unreadable-sound"
    assert told["problem"]["detail"]
    events = one.follow(told["id"], 0)
    assert [event["event"] for event in events] == ["queued", "started", "failed"]
    assert events[-1]["problem"] == told["problem"]


# events


def test_every_listener_hears_everything_once_and_in_order(
    one: Customer, long_sound: bytes
) -> None:
    job = one.submit(long_sound, "task=midi&program=20").json()["id"]
    heard: list[list[dict[str, Any]]] = [[] for _ in range(3)]

    def listen(to: list[dict[str, Any]]) -> None:
        to += one.follow(job, 0)

    listeners = [threading.Thread(target=listen, args=(each,)) for each in heard]
    for thread in listeners:
        thread.start()
    for thread in listeners:
        thread.join(200)
    events = heard[0]
    assert heard[1] == events
    assert heard[2] == events
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["queued", "started"]
    assert set(kinds[2:-1]) == {"progress"}
    assert kinds[-1] == "done"
    progress = [event["progress"] for event in events if event["event"] == "progress"]
    assert progress == sorted(set(progress))
    assert 0 < progress[0] < progress[-1] <= 1
    assert len(progress) > 10
    assert one.follow(job, 0) == events, "after its end, too"
    assert one.follow(job, len(events) - 2) == events[-2:]
    assert one.follow(job, len(events)) == []


def test_a_reader_that_is_cut_off_again_and_again_misses_nothing(
    one: Customer, long_sound: bytes
) -> None:
    job = one.submit(long_sound, "task=midi&program=21").json()["id"]
    events: list[dict[str, Any]] = []
    while not events or events[-1]["event"] not in LAST:
        events += one.follow(job, len(events), at_most=3)
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events == one.follow(job, 0)


def test_events_come_over_http2_as_well(server: Server, one: Customer, long_sound: bytes) -> None:
    job = one.submit(long_sound, "task=midi&program=22").json()["id"]
    asked = json.dumps({"scopes": ["predict"]}).encode()
    minted = one.ask("POST", "/v1/tokens", "", asked, content_type="application/json")
    bearer = {"Authorization": f"Bearer {minted.json()['token']}"}
    path = f"{JOBS}/{job}/events"
    with (
        server.client(http2=True) as http,
        http.stream("GET", path, headers=bearer) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == ": here"
        heard = list(read_events(lines))
        # the same connection goes on
        assert http.get(f"{JOBS}/{job}", headers=bearer).json()["state"] == "done"
    assert heard == one.follow(job, 0)


def test_a_place_that_is_none_is_refused(one: Customer, done: dict[str, Any]) -> None:
    path = f"{JOBS}/{done['id']}/events"
    assert one.ask("HEAD", path).headers["content-type"] == "text/event-stream"
    answer = one.ask("GET", path, headers={"Last-Event-ID": "first"})
    assert problem_of(answer, 400) == "malformed-request"


def test_who_was_revoked_hears_of_no_further_event(
    one: Customer, two: Customer, server: Server, long_sound: bytes
) -> None:
    file = Path(server.settings["KEYS_FILE"])
    keys = json.loads(file.read_bytes())["keys"]
    first = one.submit(long_sound, "task=midi&program=50").json()["id"]
    job = two.submit(long_sound, "task=midi&program=50").json()["id"]
    with two.stream(job, 1) as lines:
        try:
            write_keys(file, *(each | {"disabled": each["id"] == "two"} for each in keys))
            one.ask("DELETE", f"{JOBS}/{first}")
            assert list(read_events(lines)) == [], "the other job begins, and they do not hear it"
        finally:
            write_keys(file, *keys)
    assert two.ask("DELETE", f"{JOBS}/{job}").status_code == 200


def test_a_token_that_is_over_hears_of_no_further_event(
    one: Customer, two: Customer, server: Server, long_sound: bytes
) -> None:
    asked = json.dumps({"scopes": ["predict"], "ttl_s": 2}).encode()
    queries = [f"task=midi&program={program}" for program in range(52, 57)]
    ahead = [one.submit(long_sound, query).json()["id"] for query in queries]
    path = f"{JOBS}/{two.submit(long_sound, queries[0]).json()['id']}"
    minted = two.ask("POST", "/v1/tokens", "", asked, content_type="application/json")
    token = minted.json()["token"]
    headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": "1"}
    with (
        server.client() as http,
        http.stream("GET", f"{path}/events", headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == ": here"
        wait_until(lambda: with_token(server, token, path).status_code == 401, "it is over")
        for each in ahead:
            one.ask("DELETE", f"{JOBS}/{each}")
        assert list(read_events(lines)) == []
    assert two.ask("DELETE", path).status_code == 200


# ending


def test_cancelling_frees_the_lane(one: Customer, server: Server, long_sound: bytes) -> None:
    job = one.submit(long_sound, "task=midi&program=30").json()["id"]
    behind = one.submit(long_sound, "task=midi&program=31").json()["id"]
    started(one, job)
    answer = one.ask("DELETE", f"{JOBS}/{job}")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    started(one, behind)
    assert [event["event"] for event in one.follow(job, 0)][-1] == "cancelled"
    assert one.ask("DELETE", f"{JOBS}/{behind}").status_code == 200
    wait_until(lambda: not server.children("task_child"), "their processes have ended")
    for each in (job, behind):
        assert one.ask("DELETE", f"{JOBS}/{each}").status_code == 204
        assert problem_of(one.ask("GET", f"{JOBS}/{each}"), 404) == "job-not-found"
    sound = server.models / "jobs" / digest_of(long_sound)
    wait_until(lambda: not sound.exists(), "the sound is gone with its last job")


def test_who_may_only_read_looks_and_changes_nothing(server: Server, tune: bytes) -> None:
    reader, predictor = Customer(server, "reader"), Customer(server, "predictor")
    assert problem_of(reader.submit(tune), 403) == "scope-missing"
    assert reader.ask("GET", JOBS).json() == {"jobs": [], "next": None}
    assert {task["name"] for task in reader.ask("GET", "/v1/tasks").json()["tasks"]} >= {"midi"}
    assert problem_of(predictor.submit(tune, "task=midi&priority=1"), 403) == "scope-missing"
    job = predictor.submit(tune, "task=midi&priority=-1").json()["id"]
    assert predictor.ended(job)["state"] == "done"


# whose


def test_anothers_job_is_not_there(two: Customer, done: dict[str, Any]) -> None:
    path = f"{JOBS}/{done['id']}"
    answers = [
        two.ask("GET", path),
        two.ask("DELETE", path),
        two.ask("GET", f"{path}/events"),
        two.ask("GET", f"{path}/artifacts"),
        two.ask("GET", f"{path}/artifacts/notes.mid"),
    ]
    unknown = two.ask("GET", f"{JOBS}/{'0' * 32}")
    for answer in answers:
        assert problem_of(answer, 404) == "job-not-found"
        assert answer.json()["detail"] == unknown.json()["detail"]
    assert done["id"] not in two.ask("GET", JOBS, "limit=1000").text


def test_a_bearer_token_of_the_key_does(one: Customer, server: Server, tune: bytes) -> None:
    asked = {"scopes": ["predict"]}
    minted = one.ask(
        "POST", "/v1/tokens", "", json.dumps(asked).encode(), content_type="application/json"
    )
    token = minted.json()["token"]
    answer = with_token(server, token, f"{JOBS}?task=midi&program=40", tune, content_type=FILE)
    assert answer.status_code == 202
    assert one.ended(answer.json()["id"])["state"] == "done"
    assert with_token(server, token, answer.headers["location"]).json()["state"] == "done"


def test_pages_follow_each_other(one: Customer, done: dict[str, Any], tune: bytes) -> None:
    for program in (10, 11):
        one.ended(one.submit(tune, f"task=midi&program={program}").json()["id"])
    seen: list[str] = []
    query = "limit=2&state=done"
    while True:
        page = one.ask("GET", JOBS, query).json()
        seen += [job["id"] for job in page["jobs"]]
        assert all(job["state"] == "done" and job["result"] is None for job in page["jobs"])
        if page["next"] is None:
            break
        query = f"limit=2&state=done&after={page['next']}"
    assert len(seen) == len(set(seen)) > 2
    assert seen == sorted(seen, reverse=True)
    assert done["id"] in seen
    assert problem_of(one.ask("GET", JOBS, "state=over"), 400) == "malformed-request"


# files


def test_a_file_comes_whole_in_part_or_not_at_all(one: Customer, done: dict[str, Any]) -> None:
    kept = done["result"]["artifacts"]["notes"]
    path, tag = kept["href"], f'"{kept["sha256"]}"'

    def get(**headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return one.ask("GET", path, headers=named)

    whole = get()
    assert hashlib.sha256(whole.content).hexdigest() == kept["sha256"]
    assert whole.content[:4] == b"MThd"
    assert len(whole.content) == kept["bytes"] == int(whole.headers["content-length"])
    assert whole.headers["etag"] == tag
    assert whole.headers["content-type"] == "audio/midi"
    assert whole.headers["content-disposition"] == 'attachment; filename="notes.mid"'
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["accept-ranges"] == "bytes"
    size = kept["bytes"]
    for asked, first, end in (
        ("bytes=0-3", 0, 4),
        ("bytes=10-", 10, size),
        ("bytes=-5", size - 5, size),
        (f"bytes=4-{size + 100}", 4, size),
    ):
        part = get(Range=asked)
        assert part.status_code == 206, asked
        assert part.content == whole.content[first:end]
        assert part.headers["content-range"] == f"bytes {first}-{end - 1}/{size}"
        assert get(Range=asked, If_Range=tag).status_code == 206
        assert get(Range=asked, If_Range='"other"').content == whole.content
    assert get(Range="bytes=0-1,4-5").content == whole.content
    assert get(Range="furlongs=0-1").content == whole.content
    behind = get(Range=f"bytes={size}-")
    assert problem_of(behind, 416) == "range-not-satisfiable"
    assert behind.headers["content-range"] == f"bytes */{size}"
    same = get(If_None_Match=tag)
    assert (same.status_code, same.content) == (304, b"")
    bare = one.ask("HEAD", path)
    assert (bare.status_code, bare.content) == (200, b"")
    assert bare.headers["content-length"] == str(size)


def test_all_files_come_in_an_archive(one: Customer, done: dict[str, Any]) -> None:
    path = f"{JOBS}/{done['id']}/artifacts"
    wanted = {
        kept["href"].rpartition("/")[2]: kept for kept in done["result"]["artifacts"].values()
    }
    zipped = one.ask("GET", path)
    assert zipped.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    tarred = one.ask("GET", path, "format=tar")
    with tarfile.open(fileobj=io.BytesIO(tarred.content)) as tar:
        members = {item.name: tar.extractfile(item) for item in tar.getmembers()}
        assert {name: file.read() for name, file in members.items() if file} == found
    assert {name: digest_of(data) for name, data in found.items()} == {
        name: kept["sha256"] for name, kept in wanted.items()
    }
    assert problem_of(one.ask("GET", path, "format=rar"), 400) == "malformed-request"


def test_a_file_that_is_not_made_is_not_there(one: Customer, done: dict[str, Any]) -> None:
    for file in ("notes.wav", ".input", "%2e%2e%2fregistry.sqlite3"):
        answer = one.ask("GET", f"{JOBS}/{done['id']}/artifacts/{file}")
        assert answer.status_code == 404, file


def test_a_job_that_failed_has_no_files(one: Customer) -> None:
    job = one.ended(one.submit(b"no sound at all, either").json()["id"])["id"]
    for path in ("artifacts", "artifacts/notes.mid"):
        assert problem_of(one.ask("GET", f"{JOBS}/{job}/{path}"), 409) == "job-not-done"


# what is told of tasks and counts


def test_the_contracts_are_told_as_data(one: Customer) -> None:
    tasks = {task["name"]: task for task in one.ask("GET", "/v1/tasks").json()["tasks"]}
    assert tasks["genre"]["answers"] == "prediction"
    midi = tasks["midi"]
    assert (midi["answers"], midi["baseline"]) == ("job", "salience-baseline")
    by_name = {parameter["name"]: parameter for parameter in midi["parameters"]}
    assert by_name["program"]["kind"] == "integer"
    assert (by_name["program"]["least"], by_name["program"]["most"]) == (0, 127)
    assert by_name["end"]["choices"] == ["auto", "heard", "dropped"]
    assert [item["name"] for item in midi["artifacts"]] == ["notes", "list"]


def test_jobs_are_counted(one: Customer, server: Server, done: dict[str, Any]) -> None:
    assert {"jobs_queued", "jobs_running"} <= set(server.get("/readyz").json())
    text = one.ask("GET", "/metrics").text
    assert 'spectrogrampredictor_jobs_total{outcome="done"}' in text
    assert "spectrogrampredictor_job_duration_seconds_count" in text
    assert "spectrogrampredictor_job_retries_total" in text
    assert "spectrogrampredictor_jobs_queued" in text


def test_an_expired_signature_and_none_are_refused(server: Server, tune: bytes) -> None:
    old = head(JOBS, tune, task="midi", _ts=time.time() - 3600)
    with server.client() as http:
        for headers in ({}, {"Signed-Request": old}, {"Signed-Request": sign_payload({})}):
            answer = http.post(JOBS, content=tune, headers=headers)
            assert answer.status_code in (400, 401)
        assert problem_of(http.get(f"{JOBS}/{'0' * 32}/events"), 401) == "bad-signature"


def test_every_task_that_has_a_baseline_answers_in_every_format(
    one: Customer, server: Server
) -> None:
    """Whatever tasks there are: none is named here."""
    song = sounds.encode(sounds.song(6.0))
    tasks = one.ask("GET", "/v1/tasks").json()["tasks"]
    by_job = [task for task in tasks if task["answers"] == "job" and task["baseline"]]
    assert len(by_job) > 3
    for task in by_job:
        formats = [p["choices"] for p in task["parameters"] if p["name"] == "format"] or [[""]]
        for chosen in formats[0]:
            query = f"task={task['name']}" + (f"&format={chosen}" if chosen else "")
            done = one.submit(song, query, Prefer="wait=60").json()
            assert done["state"] == "done", (task["name"], done["problem"])
            assert done["result"]["baseline"] == task["baseline"]
            artifacts = done["result"]["artifacts"]
            assert list(artifacts) == [item["name"] for item in task["artifacts"]]
            for name, kept in artifacts.items():
                assert kept["bytes"] > 0, (task["name"], name)
                assert kept["media_type"] != "application/octet-stream"
                file = one.ask("GET", kept["href"])
                assert digest_of(file.content) == kept["sha256"]
