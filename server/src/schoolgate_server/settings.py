"""Settings: from the environment (``SCHOOLGATE_GROUP__NAME``), then from a TOML file, then the defaults here.

A TOML file has one table per group. It is named by ``SCHOOLGATE_CONFIG`` or by ``load_settings(path)``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

CONFIG_VARIABLE = "SCHOOLGATE_CONFIG"
"""Environment variable that names the TOML file."""


class SettingsInvalid(ValueError):
    """The settings cannot be used; the text names each and what is wrong, and repeats no value."""


def default_data_dir() -> Path:
    """Return where embedded MongoDB keeps its data: the user's state folder (XDG)."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "schoolgate"


class Group(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ListenSettings(Group):
    """Where gRPC is served."""

    address: str = Field(
        default="127.0.0.1", description="IP address; loopback unless TLS and callers are configured."
    )
    port: int = Field(default=50551, ge=0, le=65535, description="TCP port; 0 takes a free one, for tests.")
    tls_certificate: Path | None = Field(
        default=None, description="PEM file with the certificate chain; turns TLS on, together with tls_key."
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's private key.")
    tls_client_authority: Path | None = Field(
        default=None, description="PEM file; every client must have a certificate of this authority."
    )
    request_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=64 * 1024,
        le=64 * 1024 * 1024,
        description="Largest request in bytes: gRPC's own default, far above what any method needs.",
    )
    concurrent_calls: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description=(
            "Most calls at once, streams included; bounds memory. Half may watch, an eighth one school."
        ),
    )
    read_s: float = Field(
        default=60.0,
        ge=1,
        le=600,
        description="Seconds that an answer may take; callers' own deadlines count where they are shorter.",
    )
    drain_s: float = Field(
        default=10.0, ge=0, le=600, description="Seconds that calls at work get to end when the server stops."
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> ListenSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: set both or none")
        if self.tls_client_authority is not None and self.tls_key is None:
            raise ValueError("tls_client_authority needs tls_certificate and tls_key")
        return self


class MongoSettings(Group):
    """The MongoDB deployment; without a URI an embedded one is started."""

    uri: SecretStr | None = Field(
        default=None, description="Connection string of a replica set or sharded cluster; holds the password."
    )
    database: str = Field(
        default="schoolgate", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="Name of the database."
    )
    server_selection_s: float = Field(
        default=5.0, gt=0, le=120, description="Seconds to look for a primary; failovers take a few."
    )
    connect_s: float = Field(default=5.0, gt=0, le=120, description="Seconds to open one connection.")


class EmbeddedSettings(Group):
    """The private mongod for evaluation and tests, used when mongo.uri is not set."""

    data_dir: Path = Field(
        default_factory=default_data_dir, description="Folder of its data, password and vault key; mode 0700."
    )
    port: int = Field(default=0, ge=0, le=65535, description="TCP port on loopback; 0 takes a free one.")
    cache_gib: float = Field(
        default=0.25, ge=0.25, le=64, description="WiredTiger cache in GiB; small: it shares a machine."
    )


class VaultSettings(Group):
    """The key that protects schools' MIS credentials (client-side field level encryption)."""

    provider: Literal["local", "aws", "azure", "gcp", "kmip"] = Field(
        default="local", description="Where the master key is: local takes key_file or key, the others a KMS."
    )
    key_file: Path | None = Field(default=None, description="File with 96 random bytes, raw or in base64.")
    key: SecretStr | None = Field(default=None, description="96 random bytes in base64, instead of key_file.")
    kms_credentials: dict[str, SecretStr] = Field(
        default_factory=dict[str, SecretStr],
        description="Options of the KMS provider, as PyMongo names them.",
    )
    kms_master_key: dict[str, str] = Field(
        default_factory=dict[str, str], description="The key of the KMS to use, as PyMongo names it."
    )

    @model_validator(mode="after")
    def _one_key(self) -> VaultSettings:
        if self.key_file is not None and self.key is not None:
            raise ValueError("set key_file or key, not both")
        if self.provider != "local" and (self.key_file or self.key):
            raise ValueError("key_file and key belong to the provider local")
        return self

    @property
    def is_configured(self) -> bool:
        """Whether a key is named at all."""
        return self.provider != "local" or self.key_file is not None or self.key is not None


class AuthSettings(Group):
    """Who may call."""

    callers_file: Path | None = Field(
        default=None, description="TOML file with the callers; read again within seconds when it changes."
    )


class PartnersSettings(Group):
    """Credentials of whoever runs this server, for all schools that one application reads."""

    file: Path | None = Field(
        default=None,
        description="TOML file of partners' credentials, by connector; read at each session.",
    )


class SyncSettings(Group):
    """How schools are synced."""

    lease_ttl_s: float = Field(
        default=30.0, ge=5, le=600, description="Seconds that a school stays with a server that went silent."
    )
    commit_batch: int = Field(
        default=5000, ge=1, le=50_000, description="Records per commit: amortises round trips, bounds memory."
    )
    concurrency: int = Field(default=4, ge=1, le=100, description="Runs at once; the rest wait in order.")
    hold_deletions_fraction: float = Field(
        default=0.10,
        ge=0,
        le=1,
        description="Share of a kind whose deletion is held, if above the count too.",
    )
    hold_deletions_count: int = Field(
        default=20, ge=0, description="Records whose deletion is held, if above the fraction too."
    )
    hold_updates_fraction: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="Share of a kind whose change in one run is held, if above the count too.",
    )
    hold_updates_count: int = Field(
        default=20, ge=0, description="Records whose change is held, if above the fraction too."
    )


class WritebackSettings(Group):
    """How writes to MISs are accepted and sent."""

    environment: str = Field(
        default="production",
        pattern=r"^[a-z0-9-]{1,63}$",
        description="Whose policies hold here; under another name a copy of the database writes nothing.",
    )
    expires_h: float = Field(
        default=24.0,
        gt=0,
        le=720,
        description="Hours that a write may wait unless its caller says otherwise: nothing old leaves late.",
    )
    send_s: float = Field(
        default=60.0,
        ge=5,
        le=600,
        description="Seconds that one attempt may take, the wait for its turn at the MIS included.",
    )
    settle_s: float = Field(
        default=120.0,
        ge=1,
        le=3600,
        description="Seconds after which a request that was given up has no effect any more (ADR 0016).",
    )
    concurrency: int = Field(
        default=4,
        ge=1,
        le=32,
        description="Writes of one school on their way at once; the rest wait in order.",
    )
    schools_at_work: int = Field(
        default=16, ge=1, le=1000, description="Schools whose writes are sent at once; the others take turns."
    )


class TrafficSettings(Group):
    """How much MISs are asked, over all schools of this server."""

    host_concurrency: int = Field(
        default=8, ge=1, le=100, description="Requests at once with one host, whichever schools they are for."
    )
    school_concurrency: int = Field(
        default=2, ge=1, le=20, description="Requests at once for one school; its MIS serves the school too."
    )
    host_rate: float = Field(
        default=20.0, gt=0, le=10_000, description="Requests per second with one host, in the long run."
    )
    host_burst: int = Field(
        default=40, ge=1, le=10_000, description="Requests at once with one host after a lull."
    )
    school_rate: float = Field(
        default=10.0, gt=0, le=10_000, description="Requests per second for one school, in the long run."
    )
    school_burst: int = Field(
        default=20, ge=1, le=10_000, description="Requests at once for one school after a lull."
    )
    circuit_failures: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="Failures in a row after which a MIS is left alone a while.",
    )
    circuit_open_s: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds of that while; doubled as long as the MIS fails on."
    )
    circuit_open_longest_s: float = Field(
        default=900.0, gt=0, le=86_400, description="Seconds to which it doubles at most."
    )
    quiet_interval_s: float = Field(
        default=5.0, ge=0, le=300, description="Seconds between a school's requests in its quiet hours."
    )


class LogSettings(Group):
    """What is logged, to standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severity; DEBUG adds health checks and reflection."
    )
    format: Literal["json", "text"] = Field(
        default="json", description="json: one object per line, for collectors; text: for people."
    )


class Settings(BaseSettings):
    """All settings of one server."""

    model_config = SettingsConfigDict(
        env_prefix="SCHOOLGATE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    listen: ListenSettings = Field(default_factory=ListenSettings)
    mongo: MongoSettings = Field(default_factory=MongoSettings)
    embedded: EmbeddedSettings = Field(default_factory=EmbeddedSettings)
    vault: VaultSettings = Field(default_factory=VaultSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    connectors: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("bromcom",), description="Connectors to load, and no others; in the environment with commas."
    )
    partners: PartnersSettings = Field(default_factory=PartnersSettings)
    sync: SyncSettings = Field(default_factory=SyncSettings)
    writeback: WritebackSettings = Field(default_factory=WritebackSettings)
    traffic: TrafficSettings = Field(default_factory=TrafficSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @field_validator("connectors", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings in force: ``overrides`` (by group) before the environment before the file.

    ``config`` is the TOML file; ``None`` takes the one that ``SCHOOLGATE_CONFIG`` names, if it does.

    Raises:
        SettingsInvalid: the file cannot be read, or a setting is unknown or malformed.
    """
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    if config is not None and not config.is_file():
        raise SettingsInvalid(f"{config}: no such file")

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if config is None:
                return init_settings, env_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config)

    try:
        return FromFile(**dict(overrides or {}))
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsInvalid(found) from None
    except (ValueError, OSError) as error:
        raise SettingsInvalid(f"{config or 'environment'}: {type(error).__name__}: not readable") from None
