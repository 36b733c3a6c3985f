"""Serve a page that shows the computation, and OpenAI's completions API, on this machine.

    python experiments/serve.py --model_size=demo

docs/serving.md describes the API.
"""

import os
import socket

import uvicorn
from serve.app import make_app
from serve.engine import Engine
from serve.loaded_model import load_model

from cli.exit_status import run

MAX_CONNECTIONS = 256
SECONDS_TO_CLOSE = 0.5  # then uvicorn cuts off the responses that still run


class Server(uvicorn.Server):
    """A server that ends the texts of the engine when it stops. Their clients get an error."""

    def __init__(self, config, engine):
        super().__init__(config)
        self.engine = engine

    def handle_exit(self, sig, frame):
        self.engine.close()
        super().handle_exit(sig, frame)


def open_socket(host, port):
    """Listen on an address. Port 0 is any free port. The connections wait until the server is ready."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each answer takes 40 ms more
    return listener


def address_of(listener):
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def main(model_size: str = None, port: int = None, host: str = "127.0.0.1", api_key: str = None):
    """Serve the page and the API until Ctrl-C.

    Args:
        model_size: the model, as for gpt2.py.
        port: the port to listen on. The default is 8000. 0 is any free port.
        host: the address or name to listen on. The default allows connections from this machine only. 0.0.0.0
            allows them from everywhere.
        api_key: requests must have this key, and there is no page. The default is the environment variable
            GPT2_API_KEY, if set. Other users of this machine can see a key on the command line.
    """
    port = 8000 if port is None else port
    if port > 65535:
        raise ValueError(f"--port takes a whole number up to 65535, not {port}")
    api_key = api_key or os.environ.get("GPT2_API_KEY") or None
    if api_key and not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("--api_key takes printable ASCII characters")
    model = load_model(model_size)
    engine = Engine(model)
    config = uvicorn.Config(
        make_app(model, engine, host, api_key),
        http="h11",
        ws="none",
        lifespan="on",
        log_level="error",
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=SECONDS_TO_CLOSE,
    )
    with open_socket(host, port) as listener:
        print(address_of(listener), flush=True)
        Server(config, engine).run([listener])


if __name__ == "__main__":
    run(main)
