"""Settings of market-alerts."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode

from market_alerts.rules import TARGETS, Rule, Target
from market_alerts.rules_file import DEFAULT_FILE
from ticklake.errors import ConfigurationError
from ticklake.settings import KafkaSettings, LiveSettings, ServiceSettings, settings_config


def _addresses(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Address = Annotated[str, Field(pattern=r"^[^@\s,<>]+@[^@\s,<>]+$")]
Addresses = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_addresses)]
"""E-mail addresses, comma-separated in a variable."""

HttpAddress = Annotated[SecretStr, Field(min_length=1)]
"""An address whose path or query can be a secret."""


class AlertOptions(BaseSettings):
    """How ticks are evaluated (`TICKLAKE_ALERTS_…`)."""

    model_config = settings_config("TICKLAKE_ALERTS_")

    rules_file: Path = DEFAULT_FILE
    """YAML; unset means the rules that come with the service."""
    rules_reload_seconds: float = Field(default=2, ge=0)
    """Time between two polls of the rules file; what both find is applied. 0 reads it at the start only."""
    lateness_seconds: float = Field(default=10, ge=0, le=60)
    """How far behind its series' newest tick a tick may come and still count."""
    state_seconds: float = Field(default=30, gt=0)
    """Time between two saved states; about as much is read again after a crash."""
    warm_up_minutes: float = Field(default=60, ge=0)
    """Ticks read, without raising anything, at a start without saved state."""
    session_timeout_seconds: float = Field(default=10, ge=1)
    """After how long without a heartbeat the group gives a member's partitions to another."""


class DeliverySettings(BaseSettings):
    """Where alerts go (`TICKLAKE_ALERTS_…`); nowhere but to Kafka by default."""

    model_config = settings_config("TICKLAKE_ALERTS_")

    webhook_url: HttpAddress | None = None
    webhook_token: SecretStr | None = None
    """Sent as `Authorization: Bearer …`."""
    slack_webhook: HttpAddress | None = None
    """Address of a Slack incoming webhook, or of a service that takes the same message."""
    smtp_host: str | None = None
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_ca_file: Path | None = None
    """Certificate authority of the mail server (PEM)."""
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    email_from: Address | None = None
    email_to: Addresses = ()
    timeout_seconds: float = Field(default=10, gt=0)
    """Longest time of an attempt as a whole: resolving the name, connecting, TLS, sending and the response."""
    retry_seconds: float = Field(default=1, gt=0)
    """Longest wait before the first retry; doubled before each further one."""
    retry_cap_seconds: float = Field(default=60, gt=0)
    give_up_seconds: float = Field(default=3600, gt=0)
    """Age at which an alert that could not be delivered is given up."""

    def targets(self) -> tuple[Target, ...]:
        """The targets that are set up.

        Raises:
            ConfigurationError: one is set up by half, or an address is none.
        """
        for name, secret in (("WEBHOOK_URL", self.webhook_url), ("SLACK_WEBHOOK", self.slack_webhook)):
            if secret and not secret.get_secret_value().startswith(("http://", "https://")):
                raise ConfigurationError(f"TICKLAKE_ALERTS_{name}: should begin with http:// or https://")
        mail = {"SMTP_HOST": self.smtp_host, "EMAIL_FROM": self.email_from, "EMAIL_TO": self.email_to}
        missing = [f"TICKLAKE_ALERTS_{name}" for name, value in mail.items() if not value]
        if missing and len(missing) < len(mail):
            raise ConfigurationError(f"alerts by e-mail need {' and '.join(missing)} too")
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ConfigurationError("TICKLAKE_ALERTS_SMTP_USERNAME and _SMTP_PASSWORD: set both or neither")
        ready = {"webhook": self.webhook_url, "slack": self.slack_webhook, "email": not missing}
        return tuple(target for target in TARGETS if ready[target])


class AlertSettings(ServiceSettings):
    """All settings of this stage."""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    alerts: AlertOptions = Field(default_factory=AlertOptions)
    delivery: DeliverySettings = Field(default_factory=DeliverySettings)

    def check_targets(self, rules: tuple[Rule, ...]) -> tuple[Target, ...]:
        """The targets that are set up.

        Raises:
            ConfigurationError: a rule names another one.
        """
        ready = self.delivery.targets()
        for rule in rules:
            for target in rule.targets or ():
                if target not in ready:
                    needed = {"webhook": "WEBHOOK_URL", "slack": "SLACK_WEBHOOK", "email": "SMTP_HOST"}[target]
                    raise ConfigurationError(
                        f"rule {rule.name}: targets: {target} is not set up: set TICKLAKE_ALERTS_{needed} "
                        "or leave the target out"
                    )
        return ready
