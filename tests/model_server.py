"""A server of models for the tests: plays OpenAI's and Hugging Face's layouts, and misbehaves on command."""

import base64
import functools
import gzip
import hashlib
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

# The HTTP commands that a kind of fault concerns, where that is not GET alone.
COMMANDS = {
    "trickle": {"HEAD", "GET"},
    "page": {"HEAD", "GET"},
    "huge": {"HEAD", "GET"},
    "no head": {"HEAD"},
    "busy at first": {"HEAD"},
    "overloaded at first": {"HEAD"},
    "wrong md5 of another version": {"HEAD"},
}

# The kinds that are nothing but a status.
STATUS = {
    "forbidden": 403,
    "no head": 405,
    "busy": 429,
    "busy at first": 429,
    "error": 500,
    "overloaded at first": 503,
}


@dataclass
class Fault:
    """What goes wrong with a file, see `Handler.misbehave` and `Handler.send_content`."""

    kind: str
    times: int = 10**9  # in so many requests, and then no more
    at: int = 0  # after so many bytes of the body


class File:
    """The content of a file, and what is said of it."""

    def __init__(self, content):
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.md5 = base64.b64encode(hashlib.md5(content).digest()).decode()


class ModelServer(ThreadingHTTPServer):
    """Serves the files of folders, each under the beginning of an address: {"124M": folder}.

    Where that is "OWNER/NAME", the files are under OWNER/NAME/resolve/main/, and large ones redirect to
    another address, which does not know HEAD, as on the hub.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folders):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.folders = folders
        self.faults = {}  # file -> list of Faults, of which one comes after the other
        self.requests = []  # (method, file, first byte asked for)
        self.n_sent = 0  # bytes of bodies
        self.on_bytes = None  # a function, called with n_sent
        self.renamed = {}  # name of a model -> its new name, to which it redirects
        self.has_mark = True  # whether answers have an ETag
        self.mark = ""  # what ETags begin with
        self.has_md5 = True
        self.closing = threading.Event()
        self.read = functools.cache(lambda path, _: File(path.read_bytes()))

    @property
    def fetched(self):
        """The files that were asked for, each as often as it was."""
        return [file for method, file, _ in self.requests if method == "GET"]

    def find(self, address):
        """The File at an address, or None; and whether the address redirects to another one."""
        for beginning, folder in self.folders.items():
            for infix in (f"{beginning}/", f"{beginning}/resolve/main/", f"cdn/{beginning}/"):
                path = folder / address.removeprefix(infix)
                if address == f"{infix}{path.name}" and path.is_file():
                    file = self.read(path, path.stat().st_mtime_ns)
                    return file, "/resolve/" in infix and path.suffix == ".safetensors"
        return None, False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a short body waits for 40 ms

    def do_HEAD(self):
        self.respond()

    def do_GET(self):
        self.respond()

    def log_message(self, *args):
        pass

    def respond(self):
        address = unquote(self.path).strip("/")
        name = address.split("/")[-1]
        owner = address.split("/resolve/")[0]
        if owner in self.server.renamed:
            new = address.replace(owner, self.server.renamed[owner], 1)
            self.send_whole(307, b"", Location=f"/{new}")
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.server.requests.append((self.command, name, start))
        file, is_linked = self.server.find(address)
        fault = self.next_fault(name)
        kind = fault.kind if fault else None
        if file is None or kind == "missing":
            self.send_whole(404, b"there is no such file")
        elif self.misbehave(kind, address):
            pass
        elif is_linked:
            self.redirect(address, file)
        elif address.startswith("cdn/") and self.command == "HEAD":
            self.send_whole(403, b"signed for GET only")
        else:
            self.send_content(file, start, fault)

    def next_fault(self, file):
        """The fault that this request has, or None. The next request may have the next one."""
        for fault in self.server.faults.get(file, []):
            if self.command in COMMANDS.get(fault.kind, {"GET"}) and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def misbehave(self, kind, address):
        """Answer in a way in which nothing of the content is sent; False if there is none of this kind."""
        if kind in STATUS:
            self.send_whole(STATUS[kind], b"", **({"Retry-After": "1"} if STATUS[kind] == 429 else {}))
        elif kind == "page":
            self.send_whole(200, b"<html>Log in, please", **{"Content-Type": "text/html; charset=utf-8"})
        elif kind == "nothing":
            self.send_whole(204, b"")
        elif kind == "redirect" and not address.startswith("cdn/"):
            self.send_whole(302, b"", Location=f"/cdn/{address}")
        elif kind == "trickle":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not self.server.closing.wait(0.05):
                self.wfile.write(b"x")
        else:
            return False
        return True

    def redirect(self, address, file):
        linked = {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": f'"{file.sha256}"'}
        location = f"/cdn/{address.replace('/resolve/main', '')}"
        self.send_whole(302, b"", Location=location, **linked)

    def send_whole(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def send_content(self, file, start, fault):
        content, (kind, cut_at) = file.content, (fault.kind, fault.at) if fault else (None, 0)
        headers = {"ETag": f'"{self.server.mark}{file.sha256[:16]}"'} if self.server.has_mark else {}
        is_cut = kind in ("cut", "cut and changing", "cut without length", "stall")
        status, body = 200, memoryview(content)
        if kind in ("changing", "cut and changing"):  # between HEAD and GET, and between GET and GET
            headers["ETag"] = f'"{fault.times}"'
        if kind == "wrong md5 of another version":
            headers["ETag"] = '"another"'
        if kind == "mixed":  # other bytes than it says
            half = len(content) // 2
            body = memoryview(content[:half] + bytes(len(content) - half))
        if start and kind not in ("no range", "gzip", "no length"):
            if start >= len(content):
                self.send_whole(416, b"", **{"Content-Range": f"bytes */{len(content)}"})
                return
            status, body = 206, body[start:]
            first = start + 7 if kind == "wrong range" else start
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        elif kind in ("wrong md5", "wrong md5 of another version"):
            headers["Content-MD5"] = File(b"another").md5
        elif kind != "gzip" and self.server.has_md5:
            headers["Content-MD5"] = file.md5
        if kind == "gzip":
            body = memoryview(gzip.compress(content, compresslevel=0))
            headers["Content-Encoding"] = "gzip"
        if kind in ("no length", "cut without length"):
            headers["Connection"] = "close"
        else:
            lengths = {"no number": "many", "huge": str(10**17)}
            headers["Content-Length"] = lengths.get(kind, str(len(body)))
            headers |= {"Connection": "close"} if kind == "no number" or is_cut else {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.send_body(body[:cut_at] if is_cut else body)
            if kind == "stall":
                self.server.closing.wait()

    def send_body(self, body):
        for first in range(0, len(body), 2**16):
            piece = body[first : first + 2**16]
            try:
                self.wfile.write(piece)
            except OSError:  # the other side has gone
                self.close_connection = True
                return
            self.server.n_sent += len(piece)
            if self.server.on_bytes:
                self.server.on_bytes(self.server.n_sent)
