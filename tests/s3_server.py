"""An S3 server on the loopback address, reached over HTTP as any other: moto's, one request at a time.

One at a time, because moto looks for the object and then writes it, where S3 does both at once; `If-None-Match` must be that.
"""

import os
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def serving() -> Iterator[dict[str, str]]:
    """Start the server; yields the environment variables of its clients."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *arguments: Any) -> None:
            pass

    application, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with turn:
            return list(application(environ, start_response))

    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", **KEYS}
    server.shutdown()
    thread.join()


@contextmanager
def new_bucket() -> Iterator[str]:
    """The URL of a bucket of its own on the server that the environment names."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # it holds on to the address of a former server
    name = f"bucket-{secrets.token_hex(6)}"
    _client(os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=name)
    yield f"s3://{name}"
    S3FileSystem.clear_instance_cache()


@cache
def _client(address: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=address)
