"""What a long-running stage does when the store or Kafka rejects its credentials.

They come from its environment and so never change while it runs. A container that ends is started again by the kubelet
with the Secret's current values: a stage whose credentials stay rejected therefore ends.

**Rejected** means that the server calls the credentials themselves wrong:

- S3 `InvalidAccessKeyId` (MinIO: a user that was removed, disabled or is yet to be made; Amazon S3: a key that was
  deleted or made inactive) and `SignatureDoesNotMatch` (MinIO: a secret key that was changed). The answer to a HEAD
  request carries no code; another request then finds it out.
- Kafka's `SASL_AUTHENTICATION_FAILED`: a password that was changed, a user that was removed or is yet to be made. Open
  connections outlive the change, so a new one is tried.

Credentials that are right but not allowed to do something (S3 `AccessDenied`, Kafka's authorization errors) are not
rejected: a new process has the same rights. Only where they were rejected until then and never accepted is a denial no
answer yet: a MinIO user that is made gets its policy, and a Kafka user its ACLs, after its credentials. A server that
is away, slow or fails in another way says nothing of the credentials, for or against.
"""

import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from ticklake import logs
from ticklake.errors import CredentialsError, DeniedError, ExitCode, IntegrityError, StageError
from ticklake.kafka_authentication import check_sign_in
from ticklake.metrics import Health, served
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, ServiceSettings, StoreSettings

log = logs.get(__name__)

Check = Callable[[], None]
"""Signs in.

Raises `CredentialsError` where that is rejected, `DeniedError` where it is accepted and the user may do nothing, and
another `StageError` where there is no such answer.
"""
Rejected = Callable[[], str]
"""Why credentials are rejected just now; empty while none are."""

_EVERY_SECONDS, _AGAIN_SECONDS = 20.0, 2.0
"""Longest time between two checks, and that while the credentials are rejected."""
_CHECK_SECONDS = 5.0
_FIRST_SECONDS = 10.0
"""How long a start waits for the first answers."""
_STOP_SECONDS = 9.5
_RIGHTS_SECONDS = 30.0
"""How long after a rejection a user that is new may be without its rights."""


def watched(
    settings: ServiceSettings,
    stop: threading.Event,
    work: Callable[[Rejected], None],
    *,
    store: StoreSettings | None = None,
    prefix: str = "",
    kafka: KafkaSettings | None = None,
) -> None:
    """Do `work` once no credentials are rejected, and set `stop` where they are rejected for too long.

    Args:
        store, kafka: whose credentials to watch, None for none.
        prefix: what the store's user may list.

    Raises:
        CredentialsError: they stayed rejected, or `work` failed while they were.
    """
    watch = Watch(_checks(store, prefix, kafka), settings, stop)
    watch.start()
    try:
        watch.wait(settings.metrics_port)
        if not stop.is_set():
            work(watch.rejected)
    except IntegrityError:
        raise
    except StageError as error:
        if watch.error is None and (reason := watch.rejected()):
            raise CredentialsError(reason) from error
        if watch.error is None:
            raise
        log.warning("failed while ending", error=str(error))
    finally:
        watch.end()
    if watch.error is not None:
        raise watch.error


def _checks(store: StoreSettings | None, prefix: str, kafka: KafkaSettings | None) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    if store is not None:
        seconds = min(_CHECK_SECONDS, store.timeout_seconds)
        client = ObjectStore(store.model_copy(update={"timeout_seconds": seconds}), attempts=1)
        checks["store"] = partial(client.check_sign_in, prefix)
    if kafka is not None and kafka.security_protocol.startswith("SASL"):
        seconds = min(_CHECK_SECONDS, kafka.timeout_seconds)
        checks["kafka"] = partial(check_sign_in, kafka.model_copy(update={"timeout_seconds": seconds}))
    return checks


class SignIn:
    """What one server's answers show about the credentials."""

    def __init__(self, settings: ServiceSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            clock: monotonic, in seconds.
        """
        self._settings, self._clock = settings, clock
        self._accepted_before = False
        self._since = self._last = -math.inf
        self.reason = ""
        """Why they are rejected; empty while they are not."""

    @property
    def patience_seconds(self) -> float:
        """How long a rejection may last."""
        settings = self._settings
        return settings.credentials_rejected_seconds if self._accepted_before else settings.credentials_wait_seconds

    def accepted(self) -> None:
        """Note that the server took them."""
        self.reason, self._accepted_before = "", True

    def rejected(self, reason: str) -> bool:
        """Note that the server rejected them; returns whether that has lasted too long."""
        self._last = self._clock()
        if not self.reason:
            self._since = self._last
        self.reason = reason
        return self._last - self._since >= self.patience_seconds

    @property
    def awaits_rights(self) -> bool:
        """Whether the user may be so new that a denial is no answer yet."""
        return not self._accepted_before and self._clock() - self._last < _RIGHTS_SECONDS


class Watch:
    """Checks the credentials in the background, one thread per server, and sets `stop` when a rejection lasts."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        settings: ServiceSettings,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            checks: by the server's name.
        """
        self._checks, self._stop = checks, stop
        self._every_seconds = min(_EVERY_SECONDS, max(_AGAIN_SECONDS, settings.credentials_rejected_seconds))
        self._sign_ins = {server: SignIn(settings, clock) for server in checks}
        self._unanswered = set(checks)
        self._done = threading.Event()
        self.error: CredentialsError | None = None
        """Why the stage is to end; None while it is not."""

    def rejected(self) -> str:
        """Why the credentials are rejected just now; empty while they are not."""
        return "; ".join(sign_in.reason for sign_in in self._sign_ins.values() if sign_in.reason)

    def start(self) -> None:
        """Begin to check."""
        for server in self._checks:
            threading.Thread(target=self._run, args=(server,), name=f"credentials-{server}", daemon=True).start()

    def end(self) -> None:
        """Check no more."""
        self._done.set()

    def wait(self, metrics_port: int) -> None:
        """Return once no credentials are rejected, or `stop` is set; meanwhile the stage is alive and not ready."""
        deadline = time.monotonic() + _FIRST_SECONDS
        while self._unanswered and not self.rejected() and time.monotonic() < deadline:
            if self._stop.wait(0.02):
                return
        if self.rejected():
            with served(Health(rejected=self.rejected), metrics_port):
                while self.rejected() and not self._stop.wait(0.1):
                    pass

    def look(self, server: str) -> None:
        """Check one server's answer now."""
        sign_in = self._sign_ins[server]
        before = sign_in.reason
        try:
            self._checks[server]()
        except CredentialsError as error:
            over = sign_in.rejected(str(error))
            if not before:
                log.warning("credentials rejected", reason=sign_in.reason, ends_after_seconds=sign_in.patience_seconds)
            if over and self.error is None and not self._stop.is_set():
                self._give_up(sign_in)
        except DeniedError:
            if not sign_in.awaits_rights:
                self._accept(sign_in)
        except StageError as error:
            log.debug("no answer to a sign-in", server=server, error=str(error))
        else:
            self._accept(sign_in)
        self._unanswered.discard(server)

    def _accept(self, sign_in: SignIn) -> None:
        if sign_in.reason:
            log.info("credentials accepted again", was=sign_in.reason)
        sign_in.accepted()

    def _run(self, server: str) -> None:
        while not self._done.is_set():
            try:
                self.look(server)
            except Exception as error:
                log.error("checking the credentials failed", server=server, exc_info=error)
            self._done.wait(_AGAIN_SECONDS if self._sign_ins[server].reason else self._every_seconds)

    def _give_up(self, sign_in: SignIn) -> None:
        line = f"{sign_in.reason} (rejected for {sign_in.patience_seconds:g} s; a new start reads their current values)"
        log.error("ending", reason=line)
        self.error = CredentialsError(line)
        self._stop.set()
        # A call that hangs cannot be interrupted otherwise; what must not be lost is written by then or found again.
        last = threading.Timer(_STOP_SECONDS, os._exit, (ExitCode.UNUSABLE,))
        last.daemon = True
        last.start()
