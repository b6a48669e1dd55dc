"""`GET /metrics` over TLS: what is counted, under which names, and who may read it."""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.flows.conftest import TinyModels
from tests.flows.messages import key, send, with_token, write_keys
from tests.flows.running import Server, digest_of, problem_of, wait_until
from tests.signing.messages import hmac_signer

pytestmark = pytest.mark.timeout(240)
TOKEN = "a scraper's own secret"
PREFIX = "spectrogrampredictor_"
Samples = dict[str, float]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, tiny: TinyModels) -> dict[str, str]:
    own = digest_of(tiny.path("two.h5").read_bytes())
    keys = (key("reader", "read"), key("caller", "predict"), key("owner", "read", models=own))
    other = key("other", "read", models=f"{'0' if own[0] == '1' else '1'}*")
    path = write_keys(tmp_path_factory.mktemp("keys") / "keys.json", *keys, other)
    return {"METRICS_TOKEN": TOKEN, "KEYS_FILE": str(path)}


@pytest.fixture(scope="module")
def hosted(server: Server, tiny: TinyModels, short_wav: bytes) -> str:
    """Host a model that has answered one prediction and failed at another."""
    digest = server.host(tiny.path("two.h5").read_bytes())
    assert server.predict(digest, short_wav).status_code == 200
    assert server.predict(digest, short_wav, csv=b"not,a,row\n1,2,3\n").status_code == 422
    return digest


def scrape(server: Server, query: str = "") -> httpx.Response:
    return with_token(server, TOKEN, "/metrics" + query)


def samples(server: Server, query: str = "") -> Samples:
    """Return every sample by its name and labels, as Prometheus' own parser reads them."""
    answer = scrape(server, query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name.removeprefix(PREFIX)}{{{labels}}}"] = sample.value
    return found


def test_a_prediction_is_counted_with_its_parts(server: Server, hosted: str) -> None:
    seen = samples(server)
    of_model = f"model={hosted}"
    calls = "model_prediction_duration_seconds_count"
    assert seen[f"{calls}{{{of_model},outcome=success}}"] == 1
    assert seen[f"{calls}{{{of_model},outcome=failure}}"] == 1
    assert seen[f"model_batches_total{{{of_model},rows=1}}"] == 1
    for part in ("input", "queue", "compute", "output"):
        assert seen[f"model_{part}_duration_seconds_count{{{of_model}}}"] == 1, part
        assert seen[f"model_{part}_duration_seconds_sum{{{of_model}}}"] >= 0, part
    assert seen[f"model_worker_memory_bytes{{{of_model}}}"] > 10 << 20
    assert seen["prediction_duration_seconds_count{}"] == 2
    route = "method=POST,port=api,route=/prediction"
    assert seen[f"http_requests_total{{{route},status=200}}"] == 1
    assert seen[f"http_requests_total{{{route},status=422}}"] == 1


def test_triton_s_names_say_the_same(server: Server, hosted: str) -> None:
    seen = samples(server, "?names=triton")
    labels = f"{{model={hosted},version=1}}"
    assert seen["nv_inference_request_success" + labels] == 1
    assert seen["nv_inference_request_failure" + labels] == 1
    assert seen["nv_inference_count" + labels] == 1
    assert seen["nv_inference_exec_count" + labels] == 1
    assert seen["nv_inference_compute_infer_duration_us" + labels] > 0
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    inside = sum(seen[f"nv_inference_{part}_duration_us{labels}"] for part in parts)
    assert inside <= seen["nv_inference_request_duration_us" + labels]


def test_uploads_sweeps_and_verdicts_are_counted(server: Server, hosted: str) -> None:
    before = samples(server)
    junk = b"\x80\x04no model, but a pickle."
    server.register(digest_of(junk))
    server.upload(junk)
    server.upload(b"nobody registered this")
    server.sweep()
    verdict = "model_verdicts_total{verdict=pickle}"
    wait_until(lambda: samples(server).get(verdict) == 1, "the verdict")
    after = samples(server)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["uploads_total{outcome=received}"] == 2
    assert grown["upload_bytes_total{}"] == len(junk) + len(b"nobody registered this")
    assert grown["swept_files_total{outcome=promoted}"] == 1
    assert grown["swept_files_total{outcome=discarded}"] == 1
    assert grown["sweeps_total{}"] >= 1


def test_parts_say_how_they_are(server: Server, hosted: str) -> None:
    seen = samples(server)
    assert seen["ready{}"] == 1
    assert seen["decoders{}"] >= 1
    assert seen["models_loaded{}"] == 1
    assert seen["certificate_expiry_timestamp_seconds{}"] > 1_700_000_000
    assert seen["certificate_reload_failed{}"] == 0
    assert seen["keys_reload_failed{}"] == 0
    level = server.get("/readyz").json()["sandbox"]
    assert seen[f"sandbox{{level={level}}}"] == 1


def test_what_nobody_knows_makes_no_series(server: Server, hosted: str, short_wav: bytes) -> None:
    samples(server)  # the series of this very request is there from now on
    before = samples(server).keys()
    for k in range(5):
        assert server.predict(f"{k:064x}", short_wav).status_code == 404
        assert server.get(f"/nothing/{k}").status_code == 404
        with server.client() as http:
            assert http.request(f"ODD{k}", "/test").status_code == 405
    new = samples(server).keys() - before
    assert len({name for name in new if "http_requests" not in name}) == 0
    assert len(new) <= 3, new


def test_only_who_may_read_is_told(server: Server) -> None:
    assert problem_of(server.get("/metrics"), 401) == "bad-signature"
    assert problem_of(with_token(server, TOKEN + "x", "/metrics"), 401) == "bad-signature"
    assert send(server, "/metrics", b"", hmac_signer("reader"), method="GET").status_code == 200
    refused = send(server, "/metrics", b"", hmac_signer("caller"), method="GET")
    assert problem_of(refused, 403) == "scope-missing"
    assert problem_of(scrape(server, "?names=other"), 400) == "malformed-request"


@pytest.mark.parametrize("query", ["", "names=triton"])
def test_a_key_is_shown_the_models_that_it_may_read_about(
    server: Server, hosted: str, query: str
) -> None:
    def shown(name: str) -> str:
        answer = send(server, "/metrics", b"", hmac_signer(name), method="GET", query=query)
        assert answer.status_code == 200, answer.text
        return answer.text

    assert hosted in shown("reader")
    assert hosted in shown("owner")
    assert hosted not in shown("other")
    lines = [line for line in shown("owner").splitlines() if not line.startswith("#")]
    assert [line for line in lines if f'model="{hosted}"' not in line] == []
    if not query:
        assert "http_requests_total" in shown("reader")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_has_nothing_to_say(server: Server, hosted: str) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scrape(server).text,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_secret_of_the_scraper_is_shown_nowhere(server: Server, tmp_path: Path) -> None:
    assert TOKEN not in server.log()
