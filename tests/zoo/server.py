"""A local web server that misbehaves as a test requires."""

import re
import socket
import struct
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """Serves the files of a folder, with ranges.

    Attributes:
        url: of the folder.
        requests: (path, requested range or None), in order.
        behave: path -> [function of the handler and the content, one a request]; after the
            last one, or without any, the server behaves correctly.
        head, post: functions of the handler, for HEAD and POST requests.
    """

    def __init__(self, root):
        self.root = Path(root)
        self.requests = []
        self.behave = defaultdict(list)
        self.stop = threading.Event()
        self.head = self.post = lambda handler: handler.respond(405)

    def requested_ranges(self, name):
        """The requested ranges of the files of this name, None for a whole file."""
        return [requested for path, requested in self.requests if path.endswith(f"/{name}")]


@contextmanager
def serving(root):
    server = Server(root)
    handler = type("Handler", (_Handler,), {"server_state": server})
    http = _Quiet(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        http.shutdown()
        thread.join()
        http.server_close()


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Suppress the messages: tests break connections on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        state = self.server_state
        state.requests.append((self.path, self.headers.get("Range")))
        path = state.root / self.path.lstrip("/")
        content = path.read_bytes() if path.is_file() else None
        behaviours = state.behave[self.path.rpartition("/")[2]]
        behaviour = behaviours.pop(0) if behaviours else honest
        behaviour(self, content)

    def do_HEAD(self):
        self.server_state.head(self)

    def do_POST(self):
        self.server_state.post(self)

    def respond(self, code, body=b"", **headers):
        self.send_response(code)
        headers = {"Content-Length": len(body)} | headers
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def first(self):
        """Index of the first requested byte."""
        found = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found else 0

    def reset(self):
        """Reset the connection, as a crashing machine does."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def honest(handler, content):
    if content is None:
        handler.respond(404)
        return
    first = handler.first()
    if not first:
        handler.respond(200, content)
    elif first >= len(content):
        handler.respond(416, Content_Range=f"bytes */{len(content)}")
    else:
        range_ = f"bytes {first}-{len(content) - 1}/{len(content)}"
        handler.respond(206, content[first:], Content_Range=range_)


def without_ranges(handler, content):
    handler.respond(200, content)


def status(code, **headers):
    return lambda handler, content: handler.respond(code, **headers)


def other(body):
    """Another body instead of the file."""
    return lambda handler, content: handler.respond(200, body)


def cut(after):
    """Announce the whole body, then close the connection after some bytes."""

    def behave(handler, content):
        first = handler.first()
        rest = content[first:]
        code = 206 if first else 200
        range_ = f"bytes {first}-{len(content) - 1}/{len(content)}" if first else None
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(rest)))
        if range_:
            handler.send_header("Content-Range", range_)
        handler.end_headers()
        handler.wfile.write(rest[:after])
        handler.wfile.flush()
        handler.close_connection = True

    return behave


def reset(after):
    """As `cut`, but the connection is reset."""

    def behave(handler, content):
        cut(after)(handler, content)
        time.sleep(0.05)  # so that the bytes arrive before the reset
        handler.reset()

    return behave


def chunked(pieces):
    """No announced length; ends correctly after these bytes."""

    def behave(handler, content):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    return behave


def endless(handler, content):
    """No length and no end."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    try:
        while not handler.server_state.stop.is_set():
            handler.wfile.write(bytes(2**16))
    except OSError:
        pass


def drip(handler, content):
    """One byte at a time, without a long pause."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    try:
        for byte in content:
            if handler.server_state.stop.wait(0.02):
                return
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
    except OSError:
        pass


def silent(handler, content):
    """Accept the request and send nothing."""
    handler.server_state.stop.wait(10)
    handler.close_connection = True


def range_lie(first=None, total=None, body=None):
    """Respond to a range with another range, size or content."""

    def behave(handler, content):
        requested = handler.first()
        rest = content[requested:] if body is None else body
        start = requested if first is None else first
        size = len(content) if total is None else total
        handler.respond(206, rest, Content_Range=f"bytes {start}-{size - 1}/{size}")

    return behave


def raw(*pieces, then=b"", pause=0.0):
    """Send bytes as they are, then repeat others until the client leaves."""

    def behave(handler, content):
        handler.close_connection = True
        try:
            for piece in pieces:
                handler.wfile.write(piece)
            while then and not handler.server_state.stop.wait(pause):
                handler.wfile.write(then)
        except OSError:
            pass

    return behave
