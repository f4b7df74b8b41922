#!/usr/bin/env python3
"""Runs `deploy-overhead` beside its peer, in turns, in one run, and prints how they compare.

    benches/beside.py [--peers ../shared/bench] [--rounds 3] [--deployments 2000] [--out rows.jsonl]

The peer is `peers/bench_engine.py` below --peers: the deployment loop of a Python service (SQLAlchemy on SQLite, a
publish to Redis a step). It is set up in a temporary environment with the versions of its requirements.txt. It starts
a private redis-server on a free port, which must be installed. Ours is built with `cargo build --release` unless
--ours names a binary. Both keep their databases under TMPDIR, which must be a disk.

Figures of different runs or machines say nothing about each other; the ratios of neighbours in one run do.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv

HERE = pathlib.Path(__file__).resolve().parent
# What of the peer's requirements its deployment loop imports.
PACKAGES = ("sqlalchemy", "aiosqlite", "greenlet", "typing_extensions", "redis", "hiredis", "psutil")
# Our row, and the row of the peer that it is compared with.
PAIRS = [
    (f"deploy_overhead_{store}_c{at_once}", f"deploy_overhead_sqlite_c{at_once}")
    for at_once in (1, 16)
    for store in ("sqlite", "sqlite-full", "memory")
]


def arguments():
    parser = argparse.ArgumentParser(description="Runs deploy-overhead beside its peer and prints how they compare.")
    parser.add_argument("--peers", type=pathlib.Path, default=HERE.parent.parent / "shared" / "bench")
    parser.add_argument("--ours", type=pathlib.Path, help="a binary of deploy-overhead; built if not given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deployments", type=int, default=2000, help="of ours, per row")
    parser.add_argument("--python", type=pathlib.Path, help="a Python that has the peer's packages; set up if not given")
    parser.add_argument("--out", type=pathlib.Path, help="a file for the rows")
    return parser.parse_args()


def build():
    """Our binary. Cargo says itself where it put it."""
    command = [os.environ.get("CARGO", "cargo"), "build", "--release", "-p", "quark-benches", "--bin", "deploy-overhead",
               "--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(path for message in reversed(messages) if (path := message.get("executable")))


def environment(folder, peers):
    """A Python with the peer's packages, in the versions that the peer pins."""
    venv.create(folder, with_pip=True)
    pinned = (peers / "peers" / "requirements.txt").read_text().splitlines()
    wanted = [line for line in pinned if line.split("==")[0].lower() in PACKAGES]
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *wanted], check=True)
    return folder / "bin" / "python"


def rows(command, **keywords):
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **keywords)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def measure(given, folder):
    peers = given.peers.resolve()
    script = peers / "peers" / "bench_engine.py"
    if not script.is_file():
        sys.exit(f"beside.py: there is no peer at {script}; say where it is with --peers")
    if shutil.which("redis-server") is None:
        sys.exit("beside.py: the peer needs redis-server (Debian: apt-get install redis-server)")
    python = given.python or environment(folder / "venv", peers)
    ours = given.ours.resolve() if given.ours else build()
    measured = []
    for number in range(given.rounds):
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
        found = rows([python, script], cwd=script.parent, env={**os.environ, "DBS": "sqlite", "PEERS_PY": str(python)})
        found += rows([ours, str(given.deployments)])
        measured.append({row["bench"] + "/" + row["peer"]: row for row in found})
        if given.out:
            with given.out.open("a") as out:
                out.writelines(json.dumps(row) + "\n" for row in found)
    return measured


def compare(measured):
    print(f"{'ours':28} {'rate /s':>9} {'peer /s':>8} {'ratio':>7}  {'each round':28} {'CPU ratio':>9}")
    for ours, peer in PAIRS:
        pairs = [(found[f"{ours}/quark"], found[f"{peer}/sqlalchemy"]) for found in measured]
        ratios = [us["rate"] / them["rate"] for us, them in pairs]
        cpu = [them["cpu_us_per_op"] / us["cpu_us_per_op"] for us, them in pairs if us["cpu_us_per_op"]]
        print(
            f"{ours:28} {statistics.median(us['rate'] for us, _ in pairs):9.1f}"
            f" {statistics.median(them['rate'] for _, them in pairs):8.1f} {statistics.median(ratios):6.1f}x"
            f"  {' '.join(f'{ratio:.1f}' for ratio in ratios):28}"
            f" {f'{statistics.median(cpu):.1f}x' if cpu else '-':>9}"
        )
    busy = max(row["psi10"] or 0 for found in measured for row in found.values())
    print(f"Some task waited for a processor in up to {busy:.0f} % of 10 seconds, ours and the peer's included.")


def main():
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="beside-") as folder:
        compare(measure(given, pathlib.Path(folder)))


if __name__ == "__main__":
    main()
