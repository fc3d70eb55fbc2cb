"""Whether Kafka accepts the credentials, asked on a connection of its own.

The client library does not show it: the broker closes the connection right after it has rejected a sign-in, and the
library mostly sees the end of the connection first. It tries again until its time is over and then reports a timeout,
as for a broker that is away.
"""

import socket
import ssl
import struct
from contextlib import ExitStack

from kafka import errors as kafka_errors
from kafka.net.sasl import get_sasl_mechanism

from ticklake.errors import ConfigurationError, StageError
from ticklake.kafka import client_options, rejected
from ticklake.kafka_protocol import request
from ticklake.settings import KafkaSettings

_HANDSHAKE, _AUTHENTICATE = 17, 36
"""API keys of https://kafka.apache.org/protocol#protocol_api_keys."""


def check_sign_in(settings: KafkaSettings) -> None:
    """Sign in at the first bootstrap server that answers, and close the connection.

    Args:
        settings: with a SASL protocol; `timeout_seconds` counts for each bootstrap server and step.

    Raises:
        CredentialsError: the broker rejects the credentials.
        ConfigurationError: it does not offer the mechanism.
        StageError: no bootstrap server answers.
    """
    reason = "there is no bootstrap server"
    for server in settings.bootstrap_servers.split(","):
        try:
            with ExitStack() as stack:
                _sign_in(_connected(settings, server.strip(), stack), settings)
            return
        except (OSError, ValueError, KeyError, struct.error) as error:
            reason = str(error) or type(error).__name__
    raise StageError(f"Kafka at {settings.bootstrap_servers} does not answer a sign-in: {reason}")


def _connected(settings: KafkaSettings, server: str, stack: ExitStack) -> socket.socket:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    plain = stack.enter_context(socket.create_connection((host, int(port)), settings.timeout_seconds))
    if settings.security_protocol != "SASL_SSL":
        return plain
    context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    return stack.enter_context(context.wrap_socket(plain, server_hostname=host))


def _sign_in(connection: socket.socket, settings: KafkaSettings) -> None:
    where, name = f"Kafka at {settings.bootstrap_servers}", settings.sasl_mechanism
    answer = request(connection, _HANDSHAKE, 1, struct.pack(">h", len(name)) + name.encode())
    if struct.unpack_from(">h", answer)[0] == kafka_errors.UnsupportedSaslMechanismError.errno:
        raise ConfigurationError(f"{where} does not offer TICKLAKE_KAFKA_SASL_MECHANISM {name}")
    mechanism = get_sasl_mechanism(name)(**client_options(settings))
    while not mechanism.is_done():
        token = mechanism.auth_bytes()
        answer = request(connection, _AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
        # Error code, error message (length -1: none), the server's token; all lengths are signed.
        code, length = struct.unpack_from(">hh", answer)
        if code == kafka_errors.SaslAuthenticationFailedError.errno:
            raise rejected(settings)
        if code:
            raise StageError(f"{where} fails to sign anyone in: {kafka_errors.for_code(code).__name__}")
        mechanism.receive(answer[8 + max(0, length) :])
