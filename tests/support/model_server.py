"""A local HTTP server with the layouts of OpenAI's storage and of the Hugging Face hub, and faults on demand.

A `Fault` concerns GET requests, unless its kind begins with "HEAD" or is one of HEAD_AND_GET. The kinds:

    "404", "HEAD 429", ...              this status, without content
    "login page"                        status 200 and a web page
    "redirect"                          a redirect to another address of the file
    "trickle"                           a header that never ends
    "HEAD close"                        no response at all
    "disconnect", "stall"               the body ends, or stops, after `at` bytes
    "disconnect, new ETag"              the same, and each response has another ETag
    "disconnect, no length"             the same, without Content-Length
    "new ETag"                          each response has another ETag
    "corrupt"                           the second half of the file is zeros
    "ignore range", "wrong range"       the whole file instead of a range; another range than requested
    "no length", "invalid length", "huge length"    Content-Length
    "gzip"                              compressed content
    "wrong MD5"                         the MD5 of other content
    "HEAD of another version"           the ETag and the MD5 of other content
"""

import base64
import functools
import gzip
import hashlib
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # that all revisions name
HEAD_AND_GET = ("login page", "trickle", "huge length")


@dataclass
class Fault:
    """A fault of a file."""

    kind: str
    times: int = 10**9  # the number of requests that it affects
    at: int = 0  # the number of bytes of the body that are sent

    def concerns(self, command):
        """Whether the fault affects this HTTP command."""
        if self.kind in HEAD_AND_GET:
            return True
        return command == ("HEAD" if self.kind.startswith("HEAD ") else "GET")


class File:
    """The content of a file and its hashes."""

    def __init__(self, content):
        self.content = content
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.md5 = base64.b64encode(hashlib.md5(content).digest()).decode()


class ModelServer(ThreadingHTTPServer):
    """Serves folders of files: {"124M": folder} in OpenAI's layout, {"OWNER/NAME": folder} in the hub's.

    On the hub the files are under OWNER/NAME/resolve/main/, and those of "OWNER/NAME@REVISION" under
    OWNER/NAME/resolve/REVISION/, with %2F in place of a slash in REVISION. Weights redirect to cdn/, which
    rejects HEAD.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folders):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.folders = folders
        self.faults = {}  # file -> Faults, in sequence
        self.requests = []  # (HTTP command, file, first byte of the range)
        self.authorizations = []  # (host, Authorization header or None) of each request for a file
        self.rejections = {}  # name of a model -> function(Authorization) -> (status, X-Error-Code) or None
        self.cdn_url = ""  # the address of cdn/, if it is another one
        self.n_bytes_sent = 0  # in bodies
        self.on_bytes_sent = None  # a function to call with n_bytes_sent
        self.renamed = {}  # name of a model -> the new name, to which its URLs redirect
        self.has_etag = True
        self.etag_prefix = ""
        self.has_md5 = True
        self.closing = threading.Event()
        self.read = functools.cache(lambda path, mtime_ns: File(path.read_bytes()))

    @property
    def fetched(self):
        """The file of each GET request."""
        return [file for command, file, _ in self.requests if command == "GET"]

    def find(self, address):
        """Find the File at an address, or None -> (File, whether the address redirects to cdn/)."""
        for model, folder in self.folders.items():
            name, _, revision = model.partition("@")
            on_hub = f"{name}/resolve/{quote(revision or 'main', safe='')}/"
            for base in (f"{name}/", on_hub, f"cdn/{name}/", f"cdn/{on_hub}"):
                path = folder / address.removeprefix(base)
                if address == f"{base}{path.name}" and path.is_file():
                    file = self.read(path, path.stat().st_mtime_ns)
                    return file, base == on_hub and path.suffix == ".safetensors"
        return None, False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # Nagle's algorithm delays short bodies by 40 ms

    def do_HEAD(self):
        self.respond()

    def do_GET(self):
        self.respond()

    def log_message(self, *args):
        pass

    def respond(self):
        address = self.path.strip("/")
        model, name = address.split("/resolve/")[0], address.split("/")[-1]
        if model in self.server.renamed:
            self.send_short(307, Location=f"/{address.replace(model, self.server.renamed[model], 1)}")
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.server.requests.append((self.command, name, start))
        file, is_linked = self.server.find(address)
        if file:
            self.server.authorizations.append((self.headers["Host"], self.headers["Authorization"]))
        fault = self.next_fault(name)
        reject = self.server.rejections.get(unquote(model), lambda authorization: None)
        if rejection := reject(self.headers["Authorization"]):
            status, code = rejection
            self.send_short(status, **{"X-Error-Code": code})
        elif file is None:
            self.send_short(404)
        elif fault and self.send_fault(fault.kind, address):
            pass
        elif is_linked:
            self.redirect_to_cdn(address, file)
        elif address.startswith("cdn/") and self.command == "HEAD":
            self.send_short(403)
        else:
            self.send_file(file, start, fault)

    def next_fault(self, file):
        """Take the fault of this request, or None."""
        for fault in self.server.faults.get(file, []):
            if fault.concerns(self.command) and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def send_fault(self, kind, address):
        """Send a faulty response without any content of the file -> whether the kind is one of these."""
        status = kind.removeprefix("HEAD ")
        if status.isdecimal():
            self.send_short(int(status), **({"Retry-After": "1"} if status == "429" else {}))
        elif kind == "login page":
            content_type = "text/html; charset=utf-8"
            self.send_short(200, b"<html>Log in, please", **{"Content-Type": content_type})
        elif kind == "redirect" and not address.startswith("cdn/"):
            self.send_short(302, Location=f"/cdn/{address}")
        elif kind == "HEAD close":
            self.close_connection = True
        elif kind == "trickle":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
            while not self.server.closing.wait(0.05):
                self.wfile.write(b"x")
        else:
            return False
        return True

    def redirect_to_cdn(self, address, file):
        linked = {"X-Linked-Size": str(len(file.content)), "X-Linked-ETag": f'"{file.sha256}"'}
        location = f"{self.server.cdn_url}/cdn/{address}"
        self.send_short(302, Location=location, **linked, **{"X-Repo-Commit": COMMIT})

    def send_short(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def send_file(self, file, start, fault):
        """Send the file from the byte `start` on, with the fault, if there is one."""
        content, (kind, cut_at) = file.content, (fault.kind, fault.at) if fault else ("", 0)
        headers = {"ETag": f'"{self.server.etag_prefix}{file.sha256[:16]}"'} if self.server.has_etag else {}
        headers["X-Repo-Commit"] = COMMIT
        is_cut = kind.startswith("disconnect") or kind == "stall"
        status, body = 200, memoryview(content)
        if "new ETag" in kind:
            headers["ETag"] = f'"{fault.times}"'
        if kind == "HEAD of another version":
            headers["ETag"] = '"another"'
        if kind == "corrupt":
            half = len(content) // 2
            body = memoryview(content[:half] + bytes(len(content) - half))
        if start and kind not in ("ignore range", "gzip", "no length"):
            if start >= len(content):
                self.send_short(416, **{"Content-Range": f"bytes */{len(content)}"})
                return
            status, body = 206, body[start:]
            first = start + 7 if kind == "wrong range" else start
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        elif kind in ("wrong MD5", "HEAD of another version"):
            headers["Content-MD5"] = File(b"another").md5
        elif kind != "gzip" and self.server.has_md5:
            headers["Content-MD5"] = file.md5
        if kind == "gzip":
            body = memoryview(gzip.compress(content, compresslevel=0))
            headers["Content-Encoding"] = "gzip"
        if kind in ("no length", "disconnect, no length"):
            headers["Connection"] = "close"
        else:
            lengths = {"invalid length": "many", "huge length": str(10**17)}
            headers["Content-Length"] = lengths.get(kind, str(len(body)))
            headers |= {"Connection": "close"} if kind == "invalid length" or is_cut else {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.send_body(body[:cut_at] if is_cut else body)
            if kind == "stall":
                self.server.closing.wait()

    def send_body(self, body):
        for start in range(0, len(body), 2**16):
            chunk = body[start : start + 2**16]
            try:
                self.wfile.write(chunk)
            except OSError:  # the client has closed the connection
                self.close_connection = True
                return
            self.server.n_bytes_sent += len(chunk)
            if self.server.on_bytes_sent:
                self.server.on_bytes_sent(self.server.n_bytes_sent)
