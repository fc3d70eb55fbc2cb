"""The private key of a key-pair sign-in."""

from pathlib import Path

from pydantic import SecretStr

from ticklake.errors import ConfigurationError

_VARIABLE = "TICKLAKE_WAREHOUSE_PRIVATE_KEY_FILE"


def private_key(path: Path, passphrase: SecretStr | None) -> bytes:
    """The key in `path` (PEM, PKCS #8) as unencrypted DER.

    Raises:
        ConfigurationError: no such file, no key in it, or a passphrase that is wrong, missing or not called for.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        pem = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{_VARIABLE}: cannot read {path}: {error.strerror}") from error
    password = passphrase.get_secret_value().encode() if passphrase else None
    try:
        key = serialization.load_pem_private_key(pem, password=password)
    except TypeError as error:
        what = "needs a passphrase: set" if password is None else "has no passphrase: unset"
        raise ConfigurationError(
            f"{_VARIABLE}: the key in {path} {what} TICKLAKE_WAREHOUSE_PRIVATE_KEY_PASSPHRASE"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library says the same of a broken file and of a wrong passphrase.
        raise ConfigurationError(
            f"{_VARIABLE}: {path} is no private key in PEM (PKCS #8)"
            + (", or TICKLAKE_WAREHOUSE_PRIVATE_KEY_PASSPHRASE is wrong" if password else "")
        ) from error
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
