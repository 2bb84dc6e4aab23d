"""Run the server: ``python -m plugins_example.mcp``.

It talks to one client over stdin and stdout, or with ``--http PORT`` to any number over
streamable HTTP.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

try:
    from plugins_example.mcp.host import ToolHost
except ModuleNotFoundError as error:
    if str(error.name).partition(".")[0] not in ("mcp", "mcp_types"):
        raise
    sys.exit("plugins_example.mcp needs the MCP SDK: pip install 'mcp>=2.3'")


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m plugins_example.mcp", description=__doc__
    )
    parser.add_argument(
        "--http", type=int, metavar="PORT", help="serve streamable HTTP at /mcp"
    )
    parser.add_argument(
        "--photons",
        type=Path,
        default=Path(__file__).with_name("photons"),
        help="directory of the photons",
    )
    arguments = parser.parse_args()
    # To stderr: stdout belongs to the protocol.
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("luminal.watch").setLevel(logging.INFO)
    host = ToolHost(arguments.photons)
    if arguments.http is None:
        host.serve_stdio()
    else:
        host.serve_http(arguments.http)


if __name__ == "__main__":
    main()
