"""Self-signed certificates for a TLS server on this machine, made by openssl."""

import ssl
import subprocess

SETTINGS = """
[ca]
default_ca = test
[test]
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = DNS:{host}
"""


def make_certificate(folder, host, valid_until="20991231235959Z"):
    """Make a self-signed certificate -> (the path of the certificate, the path of its key)."""
    (folder / "settings").write_text(SETTINGS.format(host=host))
    (folder / "index.txt").write_text("")
    for command in (
        "req -new -newkey rsa:2048 -nodes -keyout key -out request -subj /CN=test",
        "ca -config settings -selfsign -batch -notext -create_serial -keyfile key -in request -out cert "
        f"-startdate 20200101000000Z -enddate {valid_until}",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder / "cert", folder / "key"


def serve_tls(server, certificate, key):
    """Make a server answer with TLS from now on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
