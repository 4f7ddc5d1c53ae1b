"""Start the service as in production: `make serve`, and the command of the image."""

import os
import socket
import sys

from .. import settings
from ..errors import UserError

SERVICE = "model_service.serving.service:ModelService"


def main() -> None:
    """Become `bentoml serve`."""
    try:
        configured = settings.read()
        require_free(configured.host, configured.port)
    except UserError as error:
        sys.exit(f"The service cannot start. {error}")
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # no production service may call home
    address = ["--host", configured.host, "--port", str(configured.port)]
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, *address]
    os.execv(sys.executable, command)  # noqa: S606 - signals must reach it


def require_free(host: str, port: int) -> None:
    """Make sure that nobody listens on an address.

    Raises:
        SettingsError: somebody does, or there is no such address here.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise settings.SettingsError(
                f"{host}:{port}: {error.strerror}. Set another PORT, or {settings.PREFIX}HOST."
            ) from None


if __name__ == "__main__":
    main()
