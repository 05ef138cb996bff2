"""A server that speaks S3, in memory, for a test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from dmu0.processes import guarded_environment
from tests.scenes.postgresql import free_port

BUCKET = "products"
_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1]), verbose=False)
server.start()
print("Running on", sys.argv[1], flush=True)
sys.stdin.read()
server.stop()
"""


class Store:
    """A bucket on the server.

    Attributes
    ----------
    url
        Its address, as a survey's key engine.storage.
    """

    def __init__(self, endpoint: str) -> None:
        self.url = f"s3://{BUCKET}/of/tests"
        self._client = boto3.client("s3", endpoint_url=endpoint)
        self._client.create_bucket(Bucket=BUCKET)

    def names(self) -> list[str]:
        """Names of the objects in the bucket."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, name: str) -> bytes:
        """The content of an object."""
        return self._client.get_object(Bucket=BUCKET, Key=name)["Body"].read()

    def remove(self, name: str) -> None:
        """Remove an object."""
        self._client.delete_object(Bucket=BUCKET, Key=name)


@contextlib.contextmanager
def object_store(folder: Path, monkeypatch: pytest.MonkeyPatch, secret: str = "testing") -> Iterator[Store]:
    """A bucket whose address and keys are in the environment, as lsst.resources expects them."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    for name, value in (
        ("S3_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("LSST_DISABLE_BUCKET_VALIDATION", "1"),
    ):
        monkeypatch.setenv(name, value)
    with guarded_environment() as environment, (folder / "moto.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(port)], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment
        )
        try:
            deadline = time.monotonic() + 300
            while "Running on" not in (folder / "moto.log").read_text():
                assert server.poll() is None, (folder / "moto.log").read_text()
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.1)
            yield Store(endpoint)
        finally:
            server.stdin.close()
            server.wait()
