"""The admin, served by this process until Ctrl-C."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application

HOST, PORT = "127.0.0.1", os.environ.get("SEGMENTS_DEMO_PORT", "8000")
ADDRESS = f"http://{HOST}:{PORT}"


def bind() -> ThreadedWSGIServer:
    """Take the port, so that it is known to be free before anything else is done.

    Raises:
        RuntimeError: when it is not.
    """
    try:
        return ThreadedWSGIServer((HOST, int(PORT)), WSGIRequestHandler)
    except (OSError, OverflowError, ValueError) as error:
        raise RuntimeError(
            f"Port {PORT} cannot be had: {getattr(error, 'strerror', error)}. End what listens "
            "there, name another port (SEGMENTS_DEMO_PORT=8001), or leave out --serve."
        ) from error


def serve(server: ThreadedWSGIServer) -> None:
    """Answer requests until Ctrl-C."""
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
