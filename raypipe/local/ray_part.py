"""The embedded Ray head: every port on loopback, a token for everything, logs that stay small.

Knows the variables and options of Ray 2.60; does not start it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from raypipe.environment import EmbeddedRay
from raypipe.local.processes import platform_id

# A path of a UNIX socket ends at 107 bytes; Ray adds `/session_<date>_<microseconds>_<pid>/sockets/plasma_store`.
_SOCKET_PATH_BYTES, _RAY_ADDS_BYTES = 107, 66


def socket_dir(home: Path) -> Path:
    """Return the short directory of the platform's UNIX sockets; a function of the path, like its mark.

    Not below TMPDIR: HAProxy refuses socket paths over 97 bytes, and Ray adds 72 of them.
    """
    return Path("/tmp") / f"rp-{platform_id(home)[:8]}"


def ray_temp_dir(home: Path, sockets: Path) -> Path:
    """Return where Ray keeps its session: below `home`, unless socket paths would grow too long there.

    Examples
    --------
    >>> ray_temp_dir(Path("/srv/app/.raypipe"), Path("/tmp/rp-1")).as_posix()
    '/srv/app/.raypipe/ray'
    >>> ray_temp_dir(Path("/a" * 40), Path("/tmp/rp-1")).as_posix()
    '/tmp/rp-1/ray'
    """
    below = home / "ray"
    fits = len(os.fsencode(below)) + _RAY_ADDS_BYTES <= _SOCKET_PATH_BYTES
    return below if fits else sockets / "ray"


def ray_command(spec: EmbeddedRay, home: Path, sockets: Path, choose: Callable[[str, int], int]) -> tuple[str, ...]:
    """Return the command that runs a Ray head in the foreground."""
    cpus = spec.cpus or (os.cpu_count() or 1) + 2
    return (
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        "--node-ip-address=127.0.0.1", f"--port={spec.port}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={spec.dashboard_port}",
        f"--ray-client-server-port={spec.client_port}",
        f"--dashboard-agent-listen-port={choose('ray agent', 52365)}",
        # Ports for workers come from the kernel: a fixed range could meet a port of another part.
        "--min-worker-port=0", "--max-worker-port=0",
        f"--num-cpus={cpus}", f"--object-store-memory={spec.object_store_bytes}",
        f"--temp-dir={ray_temp_dir(home, sockets)}",
    )  # fmt: skip


def ray_variables(
    home: Path, sockets: Path, token: Path, choose: Callable[[str, int], int], *, haproxy: Path | None
) -> dict[str, str]:
    """Return the variables of the head, which every worker inherits; the token only by its path."""
    replicas = choose("serve replicas", 30_000)
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # Ray turns 127.0.0.1 into the machine's address, except where it believes that a node is all there can be.
        # With it GCS, raylet, agents and workers listen on loopback only. Drivers need the same.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        # Ray renames its workers over the memory that holds their environment, and with it the platform's mark.
        "SPT_NOENV": "1",
        "RAY_ROTATION_MAX_BYTES": str(50 * 2**20),
        "RAY_ROTATION_BACKUP_COUNT": "2",
        "AUTOSCALER_METRIC_PORT": str(choose("ray autoscaler metrics", 44217)),
        "DASHBOARD_METRIC_PORT": str(choose("ray dashboard metrics", 44227)),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(choose("serve haproxy metrics", 9101)),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(choose("serve haproxy statistics", 8404)),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(choose("serve fallback http", 8500)),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(choose("serve fallback grpc", 9500)),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replicas + 999),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(sockets / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(sockets / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(sockets / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(sockets),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(sockets / "server-state"),
        **({"RAY_SERVE_HAPROXY_BINARY_PATH": str(haproxy)} if haproxy else {}),
        "RAYPIPE_HOME": str(home),
    }
