"""Evaluates S3 policies as the store does: nothing is allowed that no statement allows."""

import json
from fnmatch import fnmatchcase
from typing import Any


class StorePolicy:
    """The policy of one user."""

    def __init__(self, text: str, bucket: str) -> None:
        self._statements: list[dict[str, Any]] = json.loads(text)["Statement"]
        self._arn = f"arn:aws:s3:::{bucket}"

    def may(self, action: str, key: str) -> bool:
        """Whether an object may be read (`GetObject`), written (`PutObject`) or removed (`DeleteObject`)."""
        return self._allowed(f"s3:{action}", f"{self._arn}/{key}", {})

    def may_list(self, prefix: str) -> bool:
        """Whether what lies below a prefix may be listed."""
        return self._allowed("s3:ListBucket", self._arn, {"s3:prefix": prefix})

    def _allowed(self, action: str, resource: str, context: dict[str, str]) -> bool:
        for each in self._statements:
            assert each["Effect"] == "Allow"
            if not any(fnmatchcase(action, pattern) for pattern in each["Action"]):
                continue
            if not any(fnmatchcase(resource, pattern) for pattern in each["Resource"]):
                continue
            wanted = each.get("Condition", {}).get("StringLike", {})
            if all(
                any(fnmatchcase(context.get(key, ""), pattern) for pattern in patterns)
                for key, patterns in wanted.items()
            ):
                return True
        return False
