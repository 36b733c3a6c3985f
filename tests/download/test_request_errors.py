"""Messages about networks: they keep the cause, say what to do, and contain no credentials."""

import base64
import contextlib
import http.server
import importlib.util
import re
import shutil
import threading
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.certificates import make_certificate, serve_tls
from support.downloads import check_files
from support.model_server import Fault, ModelServer

from download.model_download import download_model
from utils import DEMO_DIR, find_model_dir

SECRET = "s3cret"


@pytest.fixture
def message_of(tmp_path, monkeypatch, fast_retries):
    """message_of(mirror, **environment): the message of a download that fails, as one line."""

    def message_of(mirror, **environment):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(OSError) as error:
                download_model("124M", tmp_path / "models" / "124M", mirror)
        assert "\n" not in str(error.value)
        return str(error.value)

    return message_of


# Certificates.


@pytest.fixture
def tls_server(tmp_path, monkeypatch):
    """tls_server(host, valid_until): a mirror with a self-signed certificate -> (URL, certificate)."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.setenv("CURL_CA_BUNDLE", "")
    with contextlib.ExitStack() as stack:

        def tls_server(host="localhost", **validity):
            certificate, key = make_certificate(tmp_path, host, **validity)
            server = stack.enter_context(ModelServer({"124M": DEMO_DIR}))
            serve_tls(server, certificate, key)
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
            return f"https://localhost:{server.server_port}", str(certificate)

        yield tls_server


def test_an_untrusted_certificate_is_reported(tls_server, message_of):
    url, _ = tls_server()
    assert re.fullmatch(
        r"the certificate of localhost:\d+ is not trusted: self.signed certificate; "
        "if a proxy of your network replaces certificates, set REQUESTS_CA_BUNDLE to its CA file",
        message_of(url),
    )


def test_the_hint_about_certificates_helps(tls_server, tmp_path, monkeypatch):
    url, certificate = tls_server()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
    download_model("124M", tmp_path / "124M", url)
    check_files(tmp_path / "124M")


def test_an_expired_certificate_is_reported(tls_server, message_of):
    url, certificate = tls_server(valid_until="20200102000000Z")
    message = message_of(url, REQUESTS_CA_BUNDLE=certificate)
    assert "is not trusted: certificate has expired; check the date and the time" in message


def test_a_certificate_of_another_host_is_reported(tls_server, message_of):
    url, certificate = tls_server("another.host")
    message = message_of(url, REQUESTS_CA_BUNDLE=certificate)
    assert re.search(r"is not trusted: (Hostname mismatch|.*another\.host).*; check the name", message)


def test_a_missing_or_damaged_CA_file_is_reported(tls_server, message_of, tmp_path):
    url, _ = tls_server()
    (tmp_path / "damaged").write_text("no certificate")
    message = message_of(url, REQUESTS_CA_BUNDLE=str(tmp_path / "absent"))
    assert re.search("invalid path: .*absent; check REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE", message)
    message = message_of(url, REQUESTS_CA_BUNDLE=str(tmp_path / "damaged"))
    assert "there is no certificate in the file that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE" in message


def test_a_server_without_TLS_is_reported(server, message_of):
    assert "failed: TLS error" in message_of(server.url.replace("http:", "https:"))


# Names, connections and proxies.


def test_an_unknown_host_and_a_refused_connection_are_reported(dead_address, message_of, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    host = dead_address.removeprefix("http://")
    assert re.search(f"the connection to {host} failed: .*refused", message_of(dead_address))
    message = message_of("http://no.such.host.invalid")
    assert "the connection to no.such.host.invalid failed: its name cannot be resolved (" in message


def test_a_server_that_closes_the_connection_is_reported(server, message_of):
    server.faults["hparams.json"] = [Fault("HEAD close")]
    assert "failed: it closed the connection without a response" in message_of(server.url)


@pytest.fixture
def proxy_variables(monkeypatch):
    """proxy_variables(address): the environment that sets this proxy for all hosts."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return lambda address: {"HTTP_PROXY": address, "HTTPS_PROXY": address}


@pytest.mark.skipif(importlib.util.find_spec("socks"), reason="PySocks is installed")
@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
@pytest.mark.parametrize("variable", ["ALL_PROXY", "HTTPS_PROXY", "https_proxy"])
def test_a_socks_proxy_without_PySocks_is_reported(proxy_variables, message_of, scheme, variable):
    message = message_of("https://server.invalid", **{variable: f"{scheme}://user:{SECRET}@127.0.0.1:1"})
    assert "a SOCKS proxy is set (see ALL_PROXY, HTTPS_PROXY and HTTP_PROXY)" in message
    assert "pip install pysocks, or unset the variable" in message
    assert SECRET not in message


class ProxyWithLogin(http.server.BaseHTTPRequestHandler):
    """A proxy that rejects every request, and quotes its credentials."""

    def reject(self):
        self.send_response(407, f"Authentication required, not {self.headers['Proxy-Authorization']}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_CONNECT = do_HEAD = do_GET = reject

    def log_message(self, *args):
        pass


@pytest.fixture
def proxy_address():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ProxyWithLogin) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        yield f"user:{SECRET}@127.0.0.1:{proxy.server_port}"
        proxy.shutdown()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_requires_a_login_is_reported(proxy_variables, proxy_address, message_of, scheme):
    message = message_of(f"{scheme}://server.invalid", **proxy_variables(f"http://{proxy_address}"))
    assert "the proxy requires a user name and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST" in message
    assert SECRET not in message
    assert base64.b64encode(f"user:{SECRET}".encode()).decode() not in message


UNUSABLE_PROXIES = {
    f"http://user:{SECRET}@DEAD": r"to the proxy \(see HTTPS_PROXY.*\) failed: .*refused",
    f"http://user:a@{SECRET}@DEAD": r"the connection to the proxy .* failed: .*refused",
    f"http://user:{SECRET}@no.such.host.invalid": "the proxy .* failed: its name cannot be resolved",
    f"foo://user:{SECRET}@DEAD": "an address is invalid: .*the proxy",
    f"http://user:a/{SECRET}@DEAD": "an address is invalid: .*the proxy",
    f"http://user:{SECRET}@[::1": "an address is invalid: .*the proxy",
    f"http://user:{SECRET}@:99999": "an address is invalid: .*the proxy",
}


@pytest.mark.parametrize("proxy", UNUSABLE_PROXIES)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_unusable_proxy_is_reported(proxy_variables, dead_address, message_of, scheme, proxy):
    address = proxy.replace("DEAD", dead_address.removeprefix("http://"))
    message = message_of(f"{scheme}://server.invalid", **proxy_variables(address))
    assert re.search(UNUSABLE_PROXIES[proxy], message)
    assert SECRET not in message


# Credentials in the addresses of servers.


def test_a_mirror_receives_the_user_name_and_the_password(server, tmp_path, fast_retries):
    server.cdn_url = server.url.replace("127.0.0.1", "localhost")
    mirror = server.url.replace("://", "://user:p%40ss%2Fw:rd@")
    find_model_dir("hf:OWNER/NAME", tmp_path, mirror)
    expected = "Basic " + base64.b64encode(b"user:p@ss/w:rd").decode()
    hosts = {server.url: expected, server.cdn_url: None}
    assert set(server.authorizations) == {(url.removeprefix("http://"), sent) for url, sent in hosts.items()}


FAULTS = ["404", "403", "500", "login page", "disconnect", "corrupt", "HEAD 429", "HEAD close"]


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("setting", ["mirror", "HF_ENDPOINT"])
def test_no_output_has_the_credentials_of_the_server(
    server, tmp_path, monkeypatch, capsys, fast_retries, kind, setting
):
    """Also not the progress bars and warnings."""
    for file in ("config.json", "model-00001-of-00005.safetensors"):
        server.faults[file] = [Fault(kind)]
    server.has_md5 = False  # so that corrupt weights differ from their SHA-256 only
    address = server.url.replace("://", f"://name:{SECRET}@")
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(FileNotFoundError) as error:
        find_model_dir("hf:OWNER/NAME", tmp_path / "models", address if setting == "mirror" else None)
    stdout, stderr = capsys.readouterr()
    for secret in (SECRET, "name:", base64.b64encode(f"name:{SECRET}".encode()).decode()):
        assert secret not in str(error.value) + stdout + stderr


@pytest.mark.parametrize("address", [f"http://name:{SECRET}@DEAD", f"name:{SECRET}@DEAD"])
@pytest.mark.parametrize("variable", ["", "GPT2_MIRROR", "HF_ENDPOINT"])
def test_the_command_line_does_not_print_the_credentials(run, dead_address, address, variable):
    address = address.replace("DEAD", dead_address.removeprefix("http://"))
    arguments, environment = ([], {variable: address}) if variable else ([f"--mirror={address}"], {})
    _, stdout, stderr = run("hf:OWNER/NAME", *arguments, script="utils.py", NO_PROXY="*", **environment)
    assert stderr.count("\n") == 1
    assert SECRET not in stdout + stderr


def test_a_URL_in_place_of_a_model_is_not_shown():
    with pytest.raises(ValueError, match="unknown model that looks like a URL: use 124M") as error:
        find_model_dir(f"https://name:{SECRET}@huggingface.co/OWNER/NAME")
    assert SECRET not in str(error.value)


ADDRESSES = ["http://{}@127.0.0.1:1", "ftp://{}@h", "{}@h", "http://h/{}@x", "http://h/?token={}", "{}://h"]


def credentials():
    """Names and passwords of any characters. The digits make them unlike the rest of a message."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=10).map(lambda text: f"9{text}7")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    credentials(),
    credentials(),
    st.booleans(),
    st.sampled_from(ADDRESSES),
)
@example("9a@7", "9b/c@d7", False, "http://{}@127.0.0.1:1")
@example("9a?7", "9b#7", False, "http://{}@127.0.0.1:1")
@example("9 7", "9\n7", False, "http://{}@127.0.0.1:1")
@example("9http://7", "9://7", False, "{}@h")
def test_no_message_has_the_credentials(dead_address, tmp_path, user, password, is_quoted, form):
    if is_quoted:
        user, password = quote(user, safe=""), quote(password, safe="")
    mirror = form.format(f"{user}:{password}")
    with pytest.raises((ValueError, OSError)) as error, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1,h")
        patch.setattr("download.http_probe.PROBE_TIMEOUT", 0.5)
        find_model_dir("hf:OWNER/NAME", tmp_path, mirror)
    message = str(error.value).replace(str(tmp_path), "")
    for secret in (user, password, quote(user), quote(password), repr(password)[1:-1]):
        assert secret not in message
