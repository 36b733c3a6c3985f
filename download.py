"""Files from HTTP servers, whole or not at all: `NAME.TAG.part` grows beside where `NAME` is to be.

The tag stands for the server's version of the file. A part is gone on with only while the server still has
that version; so it does not matter when, or why, the last attempt ended.
"""

import base64
import contextlib
import errno
import hashlib
import os
import queue
import re
import sys
import threading
import time
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter, MaxRetryError, Retry
from requests.packages.urllib3.exceptions import InvalidHeader
from tqdm import tqdm

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Seconds.
ANSWER_TIMEOUT = 5  # for a server to answer at all
READ_TIMEOUT = 20  # for the next bytes
MAX_WAIT = 60  # however long a server asks us to wait

NO_HEAD = (405, 501)  # what servers answer that do not know HEAD
TOO_BUSY = (408, 429)  # answers that do not say whether there is such a file
CHUNK_SIZE = 2**14  # bytes; the last chunk is lost where a connection breaks


class PatientRetry(Retry):
    """urllib3's rules for trying again, but no server makes us wait for hours, or for nonsense."""

    def get_retry_after(self, response):
        try:
            return min(super().get_retry_after(response) or 0, MAX_WAIT)
        except (InvalidHeader, ValueError, OverflowError):  # it is no number and no date
            return 0


RETRIES = PatientRetry(4, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)


class Interrupted(requests.RequestException):
    """An answer that ended early, or is not what was asked for. The next one may be better."""


class Unwanted(OSError):
    """An answer that is not the file at all."""


def new_session(retries=None):
    """A requests.Session that asks again after failures that may pass, by RETRIES or other rules."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"  # not compressed on the way: its bytes are the file's
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries or RETRIES))
    return session


def ask_at_once(urls):
    """Ask for each file without having it sent, for all at once; the whole takes ANSWER_TIMEOUT at most.

    The timeouts of requests start anew with each address and each byte, and leave out the look-up of names:
    so threads ask, which are left to themselves when the time is over.

    Yields:
        for each address, in their order, what the server says, see `read_facts`; or an exception.
    """
    answers = [queue.SimpleQueue() for _ in urls]
    for question in zip(urls, answers, strict=True):
        threading.Thread(target=ask, args=question, daemon=True).start()
    deadline = time.monotonic() + ANSWER_TIMEOUT
    for answer in answers:
        try:
            yield answer.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            yield requests.Timeout()


def ask(url, answer):
    """Put into the queue `answer` what `ask_at_once` yields for one address."""
    # For the first address of a host, of several, there is less time than for all.
    options = {"stream": True, "allow_redirects": True, "timeout": (ANSWER_TIMEOUT / 2, 2 * ANSWER_TIMEOUT)}
    try:
        with new_session(RETRIES.new(total=1, connect=0, respect_retry_after_header=False)) as session:
            response = session.head(url, **options)
            if response.status_code in NO_HEAD:
                response = session.get(url, **options)
            with response:
                # Where a redirection leads HEAD may be forbidden; what is said on the way will do.
                facts = read_facts(response)
                if "sha256" not in facts:
                    check_answer(response)
                answer.put(facts)
    except Exception as error:
        answer.put(error)


def first_to_have(urls):
    """The first of the addresses, in their order, whose server has the file -> its index.

    Raises:
        OSError: none has it. The message has the reasons.
    """
    reasons = []
    for index, (url, answer) in enumerate(zip(urls, ask_at_once(urls), strict=True)):
        if not isinstance(answer, Exception):
            return index
        reasons.append(describe(answer, url))
    raise OSError("; ".join(dict.fromkeys(reasons)))


def is_not_there(answer):
    """Whether an answer of `ask_at_once` says that the server does not have the file."""
    status = answer.response.status_code if isinstance(answer, requests.HTTPError) else 0
    return 400 <= status < 500 and status not in TOO_BUSY


def describe(error, url):
    """What went wrong with a request for `url`, in words."""
    request = getattr(error, "request", None)
    host = host_of(request.url if request is not None else url)
    if isinstance(error, (requests.HTTPError, Interrupted)):  # the words are ours
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return str(error)
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"{host} does not answer"
    return f"the connection to {host} failed ({type(error).__name__})"


def host_of(url):
    """The host and the port in an address, without a user and a password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def check_answer(response):
    """requests.HTTPError, or Unwanted, unless the answer brings the file, or a part of it."""
    url, host = (response.history or [response])[0].url, host_of(response.url)
    status = response.status_code
    if status not in (200, 206):
        question = "; is there such a model, and is it public?" if status in (401, 403, 404) else ""
        raise requests.HTTPError(f"{host} answers {status} for {url}{question}", response=response)
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        question = "does this network want you to log in, or to use a proxy?"
        raise Unwanted(f"{host} sends a web page in the place of {url}; {question}")


def read_facts(response):
    """What an answer says of the whole file -> {"size", "md5", "sha256", "tag"}, of those what it says.

    OpenAI's storage has an MD5; the hub of Hugging Face says things in a redirection, as X-Linked-....
    """
    answers, headers = [*response.history, response], response.headers
    linked = next((answer.headers for answer in answers if "X-Linked-ETag" in answer.headers), {})
    tag, size, md5 = linked.get("X-Linked-ETag"), linked.get("X-Linked-Size", ""), ""
    sha256 = (tag or "").strip('"')  # of large files; of small ones it is something else
    if headers.get("Content-Encoding", "identity") == "identity":  # else the rest is about other bytes
        tag = tag or headers.get("ETag") or headers.get("Last-Modified")
        md5 = headers.get("x-ms-blob-content-md5", "")
        if response.status_code == 200:
            size, md5 = size or headers.get("Content-Length", ""), md5 or headers.get("Content-MD5", "")
        elif response.status_code == 206:
            size = size or headers.get("Content-Range", "").split("/")[-1]
    return {
        **({"tag": tag} if tag else {}),
        **({"size": int(size)} if re.fullmatch("[1-9][0-9]{0,17}", size) else {}),
        **({"sha256": sha256} if re.fullmatch("[0-9a-f]{64}", sha256) else {}),
        **({"md5": base64.b64decode(md5).hex()} if re.fullmatch("[0-9A-Za-z+/]{22}==", md5) else {}),
    }


def fetch(session, url, path, bar, limit=None):
    """Download the file at `url` to a part beside `path`, on from where an earlier attempt ended.

    Args:
        bar: a tqdm of bytes; it counts those that were there before, too.
        limit: more bytes than this are not taken.

    Returns:
        part: the path of the part.
        facts: what the server says of it, see `read_facts`.

    Raises:
        requests.RequestException: the server has no such file, or the connection failed again and again.
        OSError: the part cannot be written.
    """
    retries, n_others, n_most = RETRIES, bar.n, size_of(find_part(path))
    while True:
        try:
            return receive(session, url, path, bar, n_others, limit)
        except Interrupted as interruption:
            n_now = size_of(find_part(path))
            if n_now > n_most:
                retries, n_most = RETRIES, n_now
            try:
                retries = retries.increment("GET", url, error=interruption)
            except MaxRetryError:
                raise interruption from None
            bar.set_postfix_str("interrupted, trying again")
            retries.sleep()
            bar.set_postfix_str("")


def receive(session, url, path, bar, n_others, limit):
    """One attempt of `fetch`, on top of n_others bytes of other files. Interrupted: another one may help."""
    part = find_part(path)
    n_done = max(0, size_of(part) - 1)  # the last byte once more: so there always is something to ask for
    headers = {"Range": f"bytes={n_done}-"} if n_done else {}
    with session.get(url, headers=headers, stream=True, timeout=(ANSWER_TIMEOUT, READ_TIMEOUT)) as response:
        if n_done and response.status_code == 416:
            part.unlink()
            raise Interrupted(f"{url} has become shorter")
        check_answer(response)
        remote = read_facts(response)
        is_rest = response.headers.get("Content-Range", "").startswith(f"bytes {n_done}-")
        new_part = path.with_name(part_name(path.name, remote))
        if response.status_code == 206 and not (is_rest and part == new_part):
            discard(part)
            raise Interrupted(f"{url} is sent from another place than asked for, or in another version")
        if response.status_code == 200:
            n_done = 0
            if part != new_part:
                discard(part)
        bar.n = n_others + n_done
        with open(new_part, "r+b" if n_done else "wb") as file:
            file.seek(n_done)
            try:
                for chunk in response.iter_content(CHUNK_SIZE):
                    file.write(chunk)
                    bar.update(len(chunk))
                    if limit and file.tell() > limit:
                        file.truncate(0)
                        raise Unwanted(f"{url} has more than the {limit} bytes that such a file may have")
            except requests.RequestException as error:
                raise Interrupted(describe(error, url)) from None
            finally:
                file.flush()
                os.fsync(file.fileno())
        length = response.headers.get("Content-Length", "")
        is_cut = length.isdecimal() and response.raw.tell() != int(length)
        if is_cut or size_of(new_part) < remote.get("size", 0):
            raise Interrupted(f"{url} broke off at {size_of(new_part)} bytes")
    return new_part, remote


def part_name(name, remote):
    """The name of the part of a version of a file. Where no version is known the part is not found again."""
    if "tag" not in remote:
        return f"{name}.part"
    return f"{name}.{hashlib.sha256(remote['tag'].encode()).hexdigest()[:12]}.part"


def find_part(path):
    """The part of a known version that is there, or None."""
    return next((part for part in parts_of(path) if part.name != f"{path.name}.part"), None)


def parts_of(path):
    """All parts of a file that are there."""
    name = re.compile(re.escape(path.name) + r"(\.[0-9a-f]{12})?\.part")
    return [other for other in path.parent.iterdir() if name.fullmatch(other.name)]


def size_of(part):
    return part.stat().st_size if part else 0


def discard(part):
    if part:
        part.unlink()


def hash_file(path, algorithm):
    """A hash of a file, by the name of the algorithm -> hexadecimal digits. A bar on stderr counts bytes."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    size = path.stat().st_size
    with (
        open(path, "rb") as file,
        tqdm(
            total=size, desc="Verifying", unit="B", unit_scale=True, delay=1, leave=False, disable=None
        ) as bar,
    ):
        while chunk := file.read(2**20):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()


# One process at a time.


@contextlib.contextmanager
def locked(path):
    """Hold the file `path` for this process alone; wait while another one does. Afterwards the file is gone.

    It is the system that lets go of it when a process ends, however it does.
    """
    while True:
        file = open(path, "ab")
        if not try_to_lock(file):
            print(f"waiting for another process, which downloads the same model ({path})", file=sys.stderr)
            while not try_to_lock(file):
                time.sleep(0.2)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                break
        file.close()  # the one that was waited for has removed it, and perhaps another has made it anew
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows does not remove what another process has open
            os.remove(path)
        file.close()


def try_to_lock(file):
    """Whether the file is now this process's own."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system that knows no locks is no reason not to download.
        return error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
    return True
