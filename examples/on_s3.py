"""Run a command beside an S3 server that has the example sweep: `make demo-s3`.

python examples/on_s3.py kedro run --env s3
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = Path(__file__).parent / "data" / "mlruns"
BUCKET = "team"  # as in conf/s3/catalog.yml; to rclone, a folder is a bucket
KEY, SECRET = "demo", "demo-secret"  # as in conf/s3/credentials.yml
SECONDS_TO_START = 30


def main() -> int:
    """Serve, upload, run the command, and return its exit status."""
    port = get_free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SWEEP, Path(folder, BUCKET, "mlruns"))
        command = ["rclone", "serve", "s3", folder, "--addr", f"127.0.0.1:{port}"]
        server = subprocess.Popen(
            [*command, "--auth-key", f"{KEY},{SECRET}", "--log-level", "ERROR"],
            env={**os.environ, "RCLONE_CONFIG": os.devnull},
        )
        try:
            wait_for(port, server)
            print(f"s3://{BUCKET}/mlruns on {endpoint} has the sweep of {SWEEP}", flush=True)
            environment = {**os.environ, "DEMO_S3_ENDPOINT": endpoint}
            return subprocess.run(sys.argv[1:], env=environment, check=False).returncode
        finally:
            server.terminate()
            server.wait()


def get_free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the server accepts connections."""
    for _ in range(SECONDS_TO_START * 20):
        if server.poll() is not None:
            raise SystemExit(f"the S3 server ended at once, with status {server.returncode}")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"the S3 server did not start in {SECONDS_TO_START} s")


if __name__ == "__main__":
    sys.exit(main())
