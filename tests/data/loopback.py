"""A hub on the loopback: the few routes by which the hub's library looks up a dataset's file and fetches it.

``HEAD /datasets/OWNER/NAME/resolve/REVISION/FILE`` answers with the commit, the SHA-256 and the size, and redirects to
another host for the bytes, as the real one does; a GET follows, with ranges.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TRAIN, VALID = "TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt"
REPO = "roneneldan/TinyStories"
TEXT = b"".join(b"Once upon a time there were %d cats.\n" % count for count in range(200))  # 7 kB
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """What the server has, how it fails, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By OWNER/NAME/FILE."""
    stated: dict[str, str] = field(default_factory=dict)
    """The checksum that is told instead of the true one, by the same names."""
    status: int | None = None
    """What every request is answered with."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes to cut the connection: the first time, the second time, ..."""
    ranges: bool = True
    """Whether a part of a file is given when it is asked for."""
    requests: list[Request] = field(default_factory=list)
    endpoint: str = ""

    def asked(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serves it, on a port that is free."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            pass

        def do_HEAD(self) -> None:
            name = self.begin()
            if name is not None:
                sha256 = hub.stated.get(name) or hashlib.sha256(hub.files[name]).hexdigest()
                self.send_response(302)
                # By another name of this host, as the bytes of the real hub stand on another one.
                self.send_header("Location", f"http://localhost:{self.server.server_port}/bytes/{name}")
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("X-Linked-Etag", f'"{sha256}"')
                self.send_header("X-Linked-Size", str(len(hub.files[name])))
                self.finish_headers(0)

        def do_GET(self) -> None:
            name = self.begin()
            if name is None:
                return
            if not self.path.startswith("/bytes/"):
                self.send_response(302)
                self.send_header("Location", f"http://localhost:{self.server.server_port}/bytes/{name}")
                self.finish_headers(0)
                return
            content = hub.files[name]
            begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if begin is not None and hub.ranges:
                first = int(begin[1])
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
                content = content[first:]
            else:
                self.send_response(200)
            self.finish_headers(len(content))
            if hub.cuts:
                self.wfile.write(content[: hub.cuts.pop(0)])
                self.close_connection = True
            else:
                self.wfile.write(content)

        def begin(self) -> str | None:
            """Notes the request; gives the file that it is about, or answers that there is none."""
            hub.requests.append(Request(self.command, self.path, dict(self.headers)))
            asked = re.fullmatch(r"/(?:datasets/(.+)/resolve/main/(.+)|bytes/(.+))", self.path)
            name = asked and (asked[3] or f"{asked[1]}/{asked[2]}")
            if hub.status is None and name in hub.files:
                return name
            self.send_response(hub.status or 404)
            if hub.status is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.finish_headers(0)
            return None

        def finish_headers(self, length: int) -> None:
            self.send_header("Content-Length", str(length))
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
