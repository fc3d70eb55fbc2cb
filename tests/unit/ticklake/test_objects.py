"""What the client of the store sends, and what it makes of the answers."""

import pytest
from botocore.stub import ANY, Stubber
from pydantic import SecretStr

from ticklake.errors import StageError
from ticklake.objects import ObjectStore
from ticklake.settings import StoreSettings


def test_the_store_itself_decides_which_of_several_writers_is_first() -> None:
    key = SecretStr("k")
    store = ObjectStore(StoreSettings(endpoint="http://localhost:1", bucket="b", access_key=key, secret_key=key))
    sent = {"Bucket": "b", "Key": "k", "Body": b"x", "Metadata": ANY, "ContentType": ANY, "IfNoneMatch": "*"}
    with Stubber(store._client) as stub:
        stub.add_response("put_object", {}, sent)
        stub.add_client_error("put_object", "PreconditionFailed", expected_params=sent)
        stub.add_client_error("put_object", "ConditionalRequestConflict", expected_params=sent)
        assert [store.put_if_absent("k", b"x") for _ in range(3)] == [True, False, False]
        stub.add_client_error("put_object", "SlowDown", expected_params=sent)
        with pytest.raises(StageError, match="SlowDown"):
            store.put_if_absent("k", b"x")
