"""Runs ``printed_session.py``, which is as the first documents print it, against ``$ENCLAVE_OS_ADDRESS``.

In a folder of its own, with the enclave's CA at ``path/to/ca.crt`` and the artifact beside it; the name
``server.example.com`` leads to the enclave under test, as a hosts file would make it.
"""

from __future__ import annotations

import os
import runpy
import socket
import ssl
from pathlib import Path
from typing import Any

from enclave_os.transport import connect

HOST, _, PORT = os.environ["ENCLAVE_OS_ADDRESS"].rpartition(":")
SESSION = Path(__file__).with_name("printed_session.py")


def main() -> None:
    """Prepares the folder and runs the session."""
    presented = connect((HOST, int(PORT)), "server.example.com", ["enclave-os/1"], 30)
    presented.close()
    ca = Path("path/to/ca.crt")
    ca.parent.mkdir(parents=True)
    ca.write_text(ssl.DER_cert_to_PEM_cert(presented.chain[1]), "ascii")

    original = socket.create_connection

    def routed(address: Any, *rest: Any, **more: Any) -> socket.socket:
        if address != ("server.example.com", 443):
            raise OSError(f"the session connects to {address}")
        return original((HOST, int(PORT)), *rest, **more)

    socket.create_connection = routed
    runpy.run_path(str(SESSION), run_name="__main__")


if __name__ == "__main__":
    main()
