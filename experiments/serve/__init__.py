"""The local server of serve.py: a page that shows the computation, and OpenAI's completions API."""

import helpers  # noqa: F401  its import makes the modules of the project importable
