"""Every setting: its environment name, default, unit and help, in one table.

Only `app` and `__main__` import this module; the parts of the house receive plain values.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from server.setting_values import NEVER, PARSERS, Bind, Names, Paths, Pin, Secret, read_tokens

SECRETS = {"SIGNING_TOKEN", "METRICS_TOKEN"}  # never shown
WARN_TOKEN_BYTES = 32
_MIB = 1 << 20
_SQLITE = ("sqlite:///", "sqlite+aiosqlite:///")
_PER_CORE = ("decoders", "job_workers")
_SANDBOX = ("on", "partial", "off")
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class SettingsFault(Exception):
    """Settings that the server cannot start with.

    Attributes
    ----------
    faults : list of str
        One sentence for each fault, all of them.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


def _setting(env: str, default: Any, text: str, *, unit: str = "", least: float = 0) -> Any:
    return field(default=default, metadata={"env": env, "help": text, "unit": unit, "least": least})


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can set, in the order in which it is documented."""

    signing_tokens: tuple[str, ...] = field(default=(), repr=False)
    signing_max_age_s: float = _setting(
        "SIGNING_MAX_AGE_S", 300.0, "Oldest timed signature, or `_ts` field, accepted.", unit="s"
    )
    keys_file: str = _setting("KEYS_FILE", "", "File of keys with scopes, read when it changes.")
    dialect1_paths: Paths = _setting(
        "DIALECT1_ENABLED", Paths("*"), "Where `SIGNING_TOKEN` signs: 1, 0, or paths by commas."
    )
    dialect1_until: datetime = _setting(
        "DIALECT1_UNTIL", NEVER, "When that ends, such as `2027-01-01T00:00:00Z`."
    )
    authorities: Names = _setting(
        "SIGNED_AUTHORITIES", Names(), "Hosts that signed messages may name, by commas; empty: any."
    )
    token_max_s: float = _setting("TOKEN_MAX_S", 600.0, "Longest life of a bearer token.", unit="s")
    certs_dir: Path = _setting(
        "CERTS_DIR", Path("/certs"), "Folder with `server.crt` and `server.key`."
    )
    cert_check_s: float = _setting(
        "CERT_CHECK_S", 60.0, "A renewed certificate is taken after.", unit="s", least=0.1
    )
    models_dir: Path = _setting("MODELS_DIR", Path("models"), "The model repository.")
    uploads_dir: Path = _setting(
        "UPLOADS_DIR", Path("uploads_tmp"), "Staging; on the same file system as the models."
    )
    database_url: str = _setting(
        "DATABASE_URL", "", "Registry database; empty: SQLite in the models folder."
    )
    api_bind: Bind = _setting("API_BIND", Bind("0.0.0.0", 443), "The API, HTTP/2 and 1.1.")  # noqa: S104
    upload_bind: Bind = _setting("UPLOAD_BIND", Bind("0.0.0.0", 4443), "Uploads, HTTP/1.1.")  # noqa: S104
    sweep_interval_s: float = _setting(
        "SWEEP_INTERVAL_S", 10.0, "Time between scheduled sweeps.", unit="s", least=0.1
    )
    legacy_status: bool = _setting(
        "LEGACY_STATUS", False, "1: failures on the original paths answer 200, as in 2020."
    )
    max_model_bytes: int = _setting(
        "MAX_MODEL_BYTES", 8 << 30, "Largest model file.", unit="bytes", least=1
    )
    max_prediction_bytes: int = _setting(
        "MAX_PREDICTION_BYTES", 64 * _MIB, "Largest body of a prediction.", unit="bytes", least=1
    )
    max_staging_bytes: int = _setting(
        "MAX_STAGING_BYTES", 32 << 30, "Room for all staged uploads.", unit="bytes", least=1
    )
    max_uploads: int = _setting("MAX_UPLOADS", 16, "Uploads in flight at once.", least=1)
    max_partial_uploads: int = _setting(
        "MAX_PARTIAL_UPLOADS", 64, "Unfinished uploads that come in parts (tus).", least=1
    )
    partial_upload_keep_s: float = _setting(
        "PARTIAL_UPLOAD_KEEP_S", 86400.0, "They end when nobody goes on for.", unit="s", least=1
    )
    min_upload_rate: int = _setting(
        "MIN_UPLOAD_RATE", 1024, "Slowest body, in any 30 s after the grace.", unit="bytes/s"
    )
    upload_grace_s: float = _setting(
        "UPLOAD_GRACE_S", 60.0, "A body may be slower at first.", unit="s"
    )
    body_idle_s: float = _setting(
        "BODY_IDLE_S", 30.0, "Longest pause inside a body.", unit="s", least=0.1
    )
    max_connections: int = _setting(
        "MAX_CONNECTIONS", 2048, "Open at once, on both ports; more wait.", least=1
    )
    max_connections_of_one: int = _setting(
        "MAX_CONNECTIONS_PER_ADDRESS", 512, "Open at once of one address.", least=1
    )
    max_predictions: int = _setting(
        "MAX_PREDICTIONS", 64, "Predictions in flight at once; more answer 503.", least=1
    )
    max_body_memory: int = _setting(
        "MAX_BODY_MEMORY", 512 * _MIB, "Bodies held in memory at once.", unit="bytes", least=1
    )
    decoders: int = _setting(
        "DECODERS", os.cpu_count() or 1, "Decoder processes; default: one a core.", least=1
    )
    model_memory: int = _setting(
        "MODEL_MEMORY",
        0,
        "Loaded models take no more; the least recently used goes. 0: half of the machine's.",
        unit="bytes",
    )
    resident_models: int = _setting("RESIDENT_MODELS", 64, "Most models kept loaded.", least=1)
    pinned_models: tuple[str, ...] = _setting(
        "PINNED_MODELS", (), "Digests, by commas: loaded at the start and never unloaded."
    )
    feature_cache_bytes: int = _setting(
        "FEATURE_CACHE_BYTES",
        64 * _MIB,
        "Memory for what frontends made of sounds; 0: none.",
        unit="bytes",
    )
    feature_cache_dir: str = _setting(
        "FEATURE_CACHE_DIR", "", "Folder that keeps the same beyond a restart; empty: none."
    )
    feature_cache_disk_bytes: int = _setting(
        "FEATURE_CACHE_DISK_BYTES", 1 << 30, "Room in that folder.", unit="bytes"
    )
    decode_timeout_s: float = _setting(
        "DECODE_TIMEOUT_S", 60.0, "Longest decoding of one sound.", unit="s", least=0.1
    )
    predict_timeout_s: float = _setting(
        "PREDICT_TIMEOUT_S", 60.0, "Longest run of a model.", unit="s", least=0.1
    )
    intake_timeout_s: float = _setting(
        "INTAKE_TIMEOUT_S", 300.0, "Longest judging or loading of a model.", unit="s", least=0.1
    )
    ready_wait_s: float = _setting(
        "READY_WAIT_S", 60.0, "A prediction waits so long for its model.", unit="s"
    )
    deadline_s: float = _setting(
        "DEADLINE_S", 300.0, "A prediction takes no longer; then 504.", unit="s", least=0.1
    )
    job_workers: int = _setting(
        "JOB_WORKERS", os.cpu_count() or 1, "Jobs done side by side; default: one a core.", least=1
    )
    job_attempts: int = _setting(
        "JOB_ATTEMPTS", 3, "A job is begun so often, unless the fault is its client's.", least=1
    )
    job_keep_s: float = _setting(
        "JOB_KEEP_S", 86400.0, "A job that has ended, and its files, are kept so long.", unit="s"
    )
    max_jobs: int = _setting(
        "MAX_JOBS", 1000, "Jobs that have not ended; three quarters may be one key's.", least=1
    )
    max_job_bytes: int = _setting(
        "MAX_JOB_BYTES", 1 << 30, "Largest sound of a job.", unit="bytes", least=1
    )
    max_jobs_bytes: int = _setting(
        "MAX_JOBS_BYTES", 32 << 30, "Room for the files of all jobs.", unit="bytes", least=1
    )
    spec2spec_demo: bool = _setting(
        "SPEC2SPEC_DEMO", False, "1: `POST /predict` and its like, for everybody, unsigned."
    )
    spec2spec_model: Pin = _setting(
        "SPEC2SPEC_MODEL",
        Pin(),
        "What answers there: a digest, or `https://...#sha256=DIGEST`, fetched at the start.",
    )
    spec2spec_origins: Names = _setting(
        "SPEC2SPEC_ORIGINS", Names(), "Origins whose pages may use it, by commas; `*`: any."
    )
    rejected_keep_s: float = _setting(
        "REJECTED_KEEP_S", 86400.0, "A rejected file is removed after.", unit="s"
    )
    scrub_interval_s: float = _setting(
        "SCRUB_INTERVAL_S",
        86400.0,
        "Rest between two passes that hash every stored file again.",
        unit="s",
        least=1,
    )
    graceful_s: float = _setting(
        "GRACEFUL_S", 8.0, "A stop takes no longer; requests in flight end.", unit="s", least=1
    )
    sandbox: str = _setting(
        "SANDBOX",
        "on",
        "`on`: models are refused where there is none; `partial`: they run without Landlock, too; "
        "`off`: they run without any.",
    )
    run_as: str = _setting(
        "RUN_AS", "", "`uid:gid` to become for good, once ports and key are open; root only."
    )
    metrics_open: bool = _setting(
        "METRICS_OPEN",
        False,
        "1: everybody may read `/metrics`; 0: keys with the scope `read`, who see the models that "
        "it is for.",
    )
    metrics_token: Secret = _setting(
        "METRICS_TOKEN", Secret(), "Whoever sends it as a bearer token may read `/metrics`, too."
    )
    log_level: str = _setting("LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR.")

    @property
    def database(self) -> str:
        """The database URL with its default filled in."""
        return self.database_url or f"sqlite:///{self.models_dir / 'registry.sqlite3'}"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the settings table."""

    env: str
    default: str
    unit: str
    help: str


TOKEN_ROWS = (
    SettingRow("SIGNING_TOKEN", "", "", "The secret that signs requests; at least 16 bytes."),
    SettingRow(
        "SIGNING_TOKEN_FILE", "", "", "Instead: a file with one token a line, oldest first."
    ),
)


def table() -> list[SettingRow]:
    """Return every setting in its documented order."""
    rows = list(TOKEN_ROWS)
    for item in fields(Settings):
        if meta := item.metadata:
            default = int(item.default) if isinstance(item.default, bool) else item.default
            text = "one a core" if item.name in _PER_CORE else f"{default}".removesuffix(".0")
            text = "" if default in ((), NEVER) else text
            rows.append(SettingRow(meta["env"], text, meta["unit"], meta["help"]))
    return rows


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """Read the settings from the environment.

    Returns
    -------
    Settings
        With defaults in place of what could not be read.
    list of str
        One sentence for every setting that cannot be used; empty when all can.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    for item in fields(Settings):
        env = item.metadata.get("env")
        if env is None or not (text := environ.get(env, "").strip()):
            continue
        try:
            value = PARSERS[item.type](text)
        except ValueError as error:
            faults.append(f"{env}{'' if item.type is Secret else f'={text!r}'}: {error}")
            continue
        least = item.metadata["least"]
        if isinstance(value, int | float) and not least <= value < float("inf"):
            faults.append(f"{env}={text!r}: must be at least {least}")
            continue
        values[item.name] = value
    if not values.get("database_url", "sqlite:///").startswith(_SQLITE):
        faults.append("DATABASE_URL: this version takes sqlite:///PATH only")
    if values.get("sandbox", "on") not in _SANDBOX:
        del values["sandbox"]
        faults.append(f"SANDBOX: one of {', '.join(_SANDBOX)}")
    if values.get("log_level", "INFO") not in _LEVELS:
        del values["log_level"]
        faults.append(f"LOG_LEVEL: one of {', '.join(_LEVELS)}")
    return Settings(signing_tokens=read_tokens(environ, faults), **values), faults
