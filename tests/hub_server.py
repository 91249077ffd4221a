"""A small Hugging Face Hub on this computer, which the real client libraries publish to and load from in tests.

Enough of the HTTP interface for huggingface_hub 2.x and datasets: create, commit (plain and LFS files), upload_folder,
snapshot_download, tags, branches, pull requests, private repositories, cards, load_dataset with and without streaming,
Spaces and the metrics that evaluate loads from them (nothing runs there).

In a test: `with HubServer() as hub:` and `run_client(hub, code, home)`; the fixture `local_hub` is one for the session.
As a process: `python -m tests.hub_server --port 0`, which prints its address. Clients read `HF_ENDPOINT` when they are
imported, so they run in processes of their own, with the variables of `client_environment`.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.hub_repository import Refused, Repository
from tests.hub_routes import ROUTES, Answer, Request

TOKEN = "hf_test"
USER = "tester"
ROOT = Path(__file__).resolve().parents[1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # clients keep their connections
    hub: "HubServer"

    def log_message(self, *words) -> None:
        pass

    def _answer(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
        body = self._body()
        time.sleep(self.hub.delay)
        try:
            self._send(self.hub.answer(self.command, address.path, query, self.headers, body))
        except Refused as refused:
            codes = {"X-Error-Code": refused.code, "X-Error-Message": refused.message.splitlines()[0]}
            self._send(Answer({"error": refused.message}, refused.status, {**refused.headers, **codes}))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has what it wanted

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: Answer) -> None:
        as_json = b"" if answer.content is None else json.dumps(answer.content).encode()
        body = as_json if answer.raw is None else answer.raw
        kind = "application/json" if answer.raw is None else "application/octet-stream"
        self.send_response(answer.status)
        for name, value in {"Content-Type": kind, "X-Request-Id": "local", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class HubServer:
    """The server. `url` is its address; `repositories` and `lfs` what it holds; `unknown` the requests it had no route
    for, which a test can hold to be empty; `delay` is how many seconds it waits before each answer.

    Args:
        port: 0 = any that is free.
        tokens: access token -> user name.
    """

    def __init__(self, port: int = 0, tokens: Mapping[str, str] | None = None):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.lfs: dict[str, bytes] = {}
        self.unknown: list[str] = []
        self.tokens = dict(tokens or {TOKEN: USER})
        self.delay = 0.0
        self._lock = threading.Lock()
        self._open(port)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def _open(self, port: int) -> None:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = type("Server", (ThreadingHTTPServer,), {"daemon_threads": True})(("127.0.0.1", port), handler)

    def answer(self, method: str, path: str, query: Mapping, headers: Mapping, body: bytes) -> Answer:
        """The answer of the first route that fits."""
        for known, pattern, function in ROUTES:
            found = pattern.fullmatch(path) if known == method else None
            if found:
                with self._lock:
                    return function(Request(self, method, query, headers, body, found.groupdict()))
        if not path.startswith(("/is-valid", "/parquet", "/info")):  # the dataset viewer, which datasets asks first
            self.unknown.append(f"{method} {path}")
        raise Refused(404, "", f"no route for {method} {path}")

    def web(self, kind: str, name: str) -> str:
        return f"{self.url}/{'' if kind == 'model' else f'{kind}s/'}{name}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Nothing answers any more at `url`; what was published is kept."""
        self._server.shutdown()
        self._server.server_close()

    def start_again(self) -> None:
        """Answer again at the same address, after `stop`."""
        self._open(int(self.url.rsplit(":", 1)[1]))
        threading.Thread(target=self.serve, daemon=True).start()

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *problem) -> None:
        self.stop()


def client_environment(hub: HubServer, home: Path, token: str | None = TOKEN) -> dict[str, str]:
    """Variables under which a fresh process uses `hub`, with its caches in `home`."""
    ours = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # evaluate tells another server of each load
        "PYTHONPATH": str(ROOT),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return {**kept, **ours, **({"HF_TOKEN": token} if token else {})}


def run_client(hub: HubServer, code: str, home: Path, token: str | None = TOKEN) -> Any:
    """Run Python code in a fresh process that uses `hub`; returns what its last line prints, read as JSON."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=client_environment(hub, home, token), capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        raise AssertionError(f"the client failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub_server", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 = any that is free")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    hub = HubServer(options.port)
    hub.delay = options.delay
    print(hub.url, flush=True)
    try:
        hub.serve()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
