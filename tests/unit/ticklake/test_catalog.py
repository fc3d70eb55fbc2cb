"""How failures of the catalog and of tables' files are told apart, by the words of Arrow and PostgreSQL."""

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError

from ticklake.catalog import _database_error, _file_error
from ticklake.errors import ConfigurationError, CredentialsError, ExitCode, StageError

FILE = "'tables/market/daily_bars/metadata/00403-9b403f5e-4034-4c03-8403-403403403403.metadata.json' in bucket 'lake'"

FILE_ERRORS = {
    f"When reading information for key {FILE}: AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7": (
        ExitCode.FAILED,
        "the store does not answer (read market.daily_bars)",
    ),
    f"When reading information for key {FILE}: AWS Error SLOW_DOWN during HeadObject operation: No response body.": (
        ExitCode.FAILED,
        "the store failed to read market.daily_bars",
    ),
    f"When reading information for key {FILE}: AWS Error ACCESS_DENIED during HeadObject operation: No response.": (
        ExitCode.UNUSABLE,
        "the store denies permission to read market.daily_bars",
    ),
    "When initiating multiple part upload for key 'x' in bucket 'lake': AWS Error UNKNOWN (HTTP status 403) during "
    "CreateMultipartUpload operation: Unable to parse ExceptionName: Odd": (
        ExitCode.UNUSABLE,
        "the store denies permission to read market.daily_bars",
    ),
}


@pytest.mark.parametrize("text", FILE_ERRORS, ids=lambda text: text.split("AWS Error ")[1].split(" ")[0])
def test_a_failed_file_is_a_denial_only_where_the_store_says_so(text: str) -> None:
    code, line = FILE_ERRORS[text]
    found = _file_error(OSError(text), "read market.daily_bars")
    assert found.exit_code == code
    assert str(found).startswith(line)


DATABASE_ERRORS: dict[str, type[StageError]] = {
    'connection to server at "role-model.example.com", port 5432 failed: Connection refused': StageError,
    'FATAL:  role "reader" does not exist': CredentialsError,
    'FATAL:  password authentication failed for user "reader"': CredentialsError,
    "permission denied for table iceberg_tables": ConfigurationError,
}


@pytest.mark.parametrize("text", DATABASE_ERRORS)
def test_a_failed_database_rejects_a_sign_in_only_where_it_says_so(text: str) -> None:
    error = OperationalError("select 1", None, psycopg2.OperationalError(text))
    assert type(_database_error(error, "the catalog", "read market.daily_bars")) is DATABASE_ERRORS[text]
