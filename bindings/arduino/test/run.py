#!/usr/bin/env python3
"""Compiles a sketch as it is, and lets a virtual device with it update itself.

    bindings/arduino/test/run SKETCH.ino…

For each sketch: a device boots it, and connects to the host of its manifest's URL, which leads to `s3ota serve` here. There lies the
same sketch with the next version. The device must install it, restart into it and confirm it.

Needs g++, python3, `cargo build -p s3ota-cli` and `cargo xtask c-api host`. S3OTA_TEST_VERBOSE=1 shows what devices print.
"""

import argparse
import re
import sys
import tempfile
import urllib.parse
from pathlib import Path

import bench


def manifest_url(text):
    """The manifest's URL in a sketch: one text, or two that AwsS3Ota 1 joins."""
    urls = re.findall(r'"(https://[^"\s]+)"', text)
    if not urls:
        raise bench.Failure("the sketch names no https URL: give it with --url")
    url = urls[0]
    if not urllib.parse.urlsplit(url).path.strip("/"):
        endpoint = re.search(r'"(/[\w./-]+)"', text)
        if endpoint is None:
            raise bench.Failure("the manifest's URL has no path: give it with --url")
        url = url.rstrip("/") + endpoint[1]
    return url


def next_version(version):
    """1.2.3 becomes 1.3.0."""
    major, minor = (re.split(r"[.+-]", version) + ["0"])[:2]
    return f"{major}.{int(minor) + 1}.0"


def run(sketch, url, standard, seconds):
    """The life of one sketch. Returns its two versions."""
    text = Path(sketch).read_text()
    parts = urllib.parse.urlsplit(url or manifest_url(text))
    bucket, _, key = parts.path.strip("/").partition("/")
    if not key:
        raise bench.Failure(f"the path of {parts.geturl()} has no bucket and key: give another URL with --url")
    with tempfile.TemporaryDirectory() as folder:
        workshop = bench.Workshop(folder, standard)
        old = bench.image(workshop.program(sketch, "old"))
        version = bench.sketch_version(old, folder)
        if version is None:
            raise bench.Failure("the image names no version: give begin() a literal, or S3OTA_VERSION")
        newer = next_version(version)
        new = bench.image(workshop.program(sketch, "new", [(f'"{version}"', f'"{newer}"')]))
        server = bench.Server(folder, bucket, [parts.hostname])
        device = bench.Device(folder, "device", old)
        device.env = server.device_env()
        try:
            server.publish(folder, new, "sketch")
            if key != "sketch/stable.json":
                server.request("PUT", key, server.request("GET", "sketch/stable.json"))
            device.start()
            status = device.wait(seconds)
            if status != bench.RESTART:
                raise bench.Failure(f"the sketch ended with {status}:\n{device.said()}")
            if device.start() != newer:
                raise bench.Failure(f"the device did not take {newer}:\n{device.said()}")
            device.wait_until_confirmed(newer, seconds)
        finally:
            device.stop()
            server.stop()
    return version, newer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sketches", nargs="+", metavar="SKETCH.ino")
    parser.add_argument("--std", default="c++17", help="the C++ standard: c++11, c++17")
    parser.add_argument("--url", help="the manifest's URL, if the sketch does not have it as a text")
    parser.add_argument("--seconds", type=int, default=120, help="how long each of update and confirmation may take")
    arguments = parser.parse_args()
    failed = False
    for sketch in arguments.sketches:
        try:
            old, new = run(sketch, arguments.url, arguments.std, arguments.seconds)
            print(f"{sketch}: updated itself from {old} to {new}, and confirmed it ({arguments.std})", flush=True)
        except bench.Failure as failure:
            failed = True
            print(f"{sketch}: {failure}", file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
