"""Sketches as programs, the programs as app images, and virtual devices that boot them.

A sketch is compiled with the stand-ins for a computer. The program becomes the payload of an app image, so `s3ota publish`
reads from it what it reads from a board's image, and a device that was updated runs the program that came over the network.
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import signal
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

TEST = Path(__file__).resolve().parent
LIBRARY = TEST.parent
ROOT = LIBRARY.parent.parent
STAND_INS = TEST / "stand-ins"

# What a program of the stand-ins ends with.
RESTART, WATCHDOG = 42, 43
# The ROM's numbers for a reset.
POWER_ON, SOFTWARE, PANIC = 1, 3, 12

WARNINGS = ["-Wall", "-Wextra", "-Werror"]

PARTITIONS = """\
# Name, Type, SubType, Offset, Size
nvs, data, nvs, 0x9000, 0x5000
otadata, data, ota, 0xe000, 0x2000
app0, app, ota_0, 0x10000, 0x180000
app1, app, ota_1, 0x190000, 0x180000
"""


class Failure(Exception):
    """Something did not go as it must."""


def archive():
    """The library for this computer."""
    found = os.environ.get("S3OTA_ARCHIVE", ROOT / "target/c-api/host/libs3ota.a")
    if not Path(found).exists():
        raise Failure(f"there is no {found}: make it with `cargo xtask c-api host`, or name another by S3OTA_ARCHIVE")
    return str(found)


def command():
    """The command s3ota."""
    if "S3OTA" in os.environ:
        return os.environ["S3OTA"]
    built = [path for path in (ROOT / "target/debug/s3ota", ROOT / "target/release/s3ota") if path.exists()]
    if not built:
        raise Failure("there is no target/debug/s3ota: make it with `cargo build -p s3ota-cli`, or name another by S3OTA")
    return str(max(built, key=lambda path: path.stat().st_mtime))


def checked(words, **more):
    """Runs a command to its end. Its output; if it fails, that is in the error."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, words[:3]))}… failed:\n{done.stdout}")
    return done.stdout


def s3ota(*words, env=None):
    """Runs the command s3ota. Its events."""
    done = subprocess.run([command(), "--json", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, env={**os.environ, **(env or {})})
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        raise Failure(f"s3ota {' '.join(map(str, words))} failed: {done.stdout}")
    return {event["event"]: event for event in events}


# --- Sketches ------------------------------------------------------------------------------------------------------------


def as_cpp(text, name):
    """A sketch as C++: as the Arduino IDE does, with Arduino.h before it and its functions declared before the first."""
    function = re.compile(r"^(?!else|return|if|while|for|switch)([A-Za-z_][\w:<>*& ]*?[\s*&])(\w+)\(([^;{}()=]*)\)\s*\{", re.M)
    found = [match for match in function.finditer(text) if match[2] not in ("setup", "loop")]
    first = function.search(text)
    declared = "".join(f"{match[1].strip()} {match[2]}({match[3]});\n" for match in found)
    if first is None:
        raise Failure(f"{name} has no setup()")
    before = text[: first.start()]
    line = before.count("\n") + 1
    return f'#include <Arduino.h>\n#line 1 "{name}"\n{before}{declared}#line {line} "{name}"\n{text[first.start():]}'


class Workshop:
    """Compiles sketches."""

    def __init__(self, folder, standard="c++17", sanitize=None):
        self.folder = Path(folder)
        self.standard = standard
        # Which of gcc's sanitizers watch the program: "address,undefined", "thread".
        self.sanitize = [f"-fsanitize={sanitize}", "-fno-sanitize-recover=all"] if sanitize else []
        self.library = self.folder / "library"
        self.objects = []
        checked([str(LIBRARY / "stage"), str(self.library)])
        self._compile_library()

    def _flags(self):
        return ["-DESP32", "-DARDUINO=10819", "-DARDUINO_ARCH_ESP32", f"-I{self.library / 'src'}", f"-I{STAND_INS}", "-ffunction-sections",
                "-fdata-sections", "-Os", "-g0", "-pthread", *WARNINGS, *self.sanitize]

    def _compile_library(self):
        out = self.folder / "objects"
        out.mkdir(exist_ok=True)
        sources = [*sorted((self.library / "src").glob("*.cpp")), *sorted((self.library / "src/port").glob("*.c")),
                   STAND_INS / "stand_ins.cpp"]
        for source in sources:
            compiled = out / f"{source.name}.o"
            self._compile(source, compiled)
            self.objects.append(compiled)

    def _compile(self, source, to, more=()):
        is_cpp = source.suffix == ".cpp"
        standard = f"-std=gnu{self.standard[1:]}" if is_cpp else "-std=gnu11"
        checked(["g++" if is_cpp else "gcc", standard, *self._flags(), *more, "-c", str(source), "-o", str(to)])

    def program(self, sketch, name, replace=()):
        """Compiles a sketch, with some of its text replaced. The program, stripped."""
        sketch = Path(sketch)
        text = sketch.read_text()
        for old, new in replace:
            if old not in text:
                raise Failure(f"{sketch} does not contain {old}")
            text = text.replace(old, new)
        source = self.folder / f"{name}.cpp"
        source.write_text(as_cpp(text, str(sketch)))
        compiled, program = source.with_suffix(".o"), self.folder / name
        self._compile(source, compiled, [f"-I{sketch.parent}"])
        wraps = [f"-Wl,--wrap={symbol}" for symbol in ("connect", "free", "getaddrinfo", "malloc", "s3ota_init")]
        checked(["g++", "-o", str(program), str(compiled), *map(str, self.objects), archive(), "-pthread", "-s", "-Wl,--gc-sections",
                 *wraps, *self.sanitize])
        return program


# --- App images ----------------------------------------------------------------------------------------------------------

DROM = 0x3F400000  # where the ESP32 sees read-only data of the flash


def image(program):
    """A program as an app image for the ESP32, with the descriptor of an Arduino build."""
    descriptor = struct.pack("<II8x32s32s16s16s32s32s", 0xABCD5432, 0, b"v5.5.1", b"arduino-lib-builder", b"12:00:00", b"Jan  1 2026",
                             b"v5.5.1", bytes(32))
    descriptor += struct.pack("<HHB", 0, 0xFFFF, 16)
    program = Path(program).read_bytes()
    data = descriptor.ljust(256, b"\0") + struct.pack("<I", len(program)) + program
    data = data.ljust((len(data) + 3) // 4 * 4, b"\0")
    header = struct.pack("<BBBBIB3sHBHH4sB", 0xE9, 1, 2, 0x40, DROM, 0xEE, bytes(3), 0, 0, 0, 0xFFFF, bytes(4), 1)
    made = header + struct.pack("<II", DROM + 32, len(data)) + data
    checksum = 0xEF
    for byte in data:
        checksum ^= byte
    made = made.ljust((len(made) + 16) // 16 * 16 - 1, b"\0") + bytes([checksum])
    return made + hashlib.sha256(made).digest()


def program_in(slot):
    """The program in an image."""
    (length,) = struct.unpack_from("<I", slot, 32 + 256)
    return slot[32 + 260 : 32 + 260 + length]


# --- Devices -------------------------------------------------------------------------------------------------------------


class Device:
    """A virtual device: a flash file, and the program that it boots."""

    def __init__(self, folder, name, first_image):
        self.folder = Path(folder) / name
        self.folder.mkdir()
        self.flash = self.folder / "flash.bin"
        self.log = []
        self.reset = POWER_ON
        self.env = {}
        self.process = None
        table, first = self.folder / "partitions.csv", self.folder / "first.bin"
        table.write_text(PARTITIONS)
        first.write_bytes(first_image)
        s3ota("device", "new", self.flash, "--image", first, "--partitions", table)

    def inspect(self):
        """What is on flash, and what the bootloader would boot."""
        return s3ota("inspect", self.flash)["flash"]

    def start(self):
        """Boots: the bootloader's choice, by its rules."""
        boots = self.inspect()["boots"]
        if boots is None:
            raise Failure("the device does not boot")
        offset = {0: 0x10000, 1: 0x190000}[boots["slot"]]
        with open(self.flash, "rb") as flash:
            flash.seek(offset)
            slot = flash.read(0x180000)
        program = self.folder / f"running-{boots['slot']}"
        program.write_bytes(program_in(slot))
        program.chmod(0o755)
        env = {**os.environ, "S3OTA_SIM_FLASH": str(self.flash), "S3OTA_SIM_RUNNING": hex(offset), "S3OTA_SIM_RESET": str(self.reset),
               "TSAN_OPTIONS": "halt_on_error=1", **self.env}
        self._tell(f"--- boots {boots['version']} from {boots['partition']}")
        self.process = subprocess.Popen([str(program)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        errors="replace", env=env)
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        return boots["version"]

    def _read(self, process):
        for line in process.stdout:
            self._tell(line.rstrip("\n"))

    def _tell(self, line):
        self.log.append(line)
        if os.environ.get("S3OTA_TEST_VERBOSE"):
            print(f"    {line}", flush=True)

    def wait(self, seconds=90, until=None):
        """Waits until the program ends, or until a line is printed that contains `until`. How it ended; None if it runs on."""
        seen = len(self.log) if until is None else 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if until is not None and any(until in line for line in self.log[seen:]):
                return None
            status = self.process.poll()
            if status is not None:
                self._reader.join()
                if until is not None and not any(until in line for line in self.log):
                    raise Failure(f"the program ended ({status}) without saying {until!r}:\n{self.said()}")
                self.reset = SOFTWARE if status == RESTART else PANIC
                return status
            time.sleep(0.05)
        what = "end" if until is None else f"say {until!r}"
        raise Failure(f"the program did not {what} within {seconds} s:\n{self.said()}")

    def wait_until_confirmed(self, version, seconds=60):
        """Waits until the running firmware is confirmed."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                self._reader.join()
                raise Failure(f"the program ended ({self.process.returncode}) before it was confirmed:\n{self.said()}")
            found = self.inspect()
            in_force = [record for record in found["otadata"] if record["in_force"]]
            if found["boots"]["version"] == version and in_force and in_force[0]["state"] == "valid":
                return
            time.sleep(0.3)
        raise Failure(f"{version} was not confirmed within {seconds} s:\n{self.said()}")

    def stop(self):
        """Switches the device off."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self._reader.join()
        self.reset = POWER_ON

    def said(self):
        """What it printed, the last lines of it."""
        return "\n".join(f"    {line}" for line in self.log[-60:])


# --- The server ----------------------------------------------------------------------------------------------------------


class Server:
    """`s3ota serve`, with a bucket."""

    def __init__(self, folder, bucket, hosts=()):
        words = [command(), "--json", "serve", "--dir", str(Path(folder) / "server"), "--listen", "127.0.0.1:0", "--bucket", bucket]
        for host in hosts:
            words += ["--host", host]
        self.bucket = bucket
        self.requests = []
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "listening":
                self.facts = event
                break
        else:
            raise Failure("s3ota serve does not start")
        self.port = urllib.parse.urlsplit(self.facts["endpoint_url"]).port
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "request":
                self.requests.append(event)

    def devices(self):
        """What devices call themselves in its access log."""
        agents = " ".join(it.get("user_agent") or "" for it in self.requests)
        return set(re.findall(r"dev=(\S+)", agents))

    def env(self):
        """The environment of a publisher."""
        return {"AWS_ENDPOINT_URL": self.facts["endpoint_url"], "AWS_CA_BUNDLE": self.facts["ca"],
                "AWS_ACCESS_KEY_ID": self.facts["access_key"], "AWS_SECRET_ACCESS_KEY": self.facts["secret_key"],
                "AWS_REGION": "us-east-1"}

    def device_env(self):
        """The environment of a device."""
        return {"S3OTA_SIM_PORT": str(self.port), "S3OTA_SIM_CA": self.facts["ca"]}

    def publish(self, folder, made, prefix, *more):
        """Publishes an image, under the version that it names."""
        path = Path(folder) / "release.bin"
        path.write_bytes(made)
        return s3ota("publish", path, f"s3://{self.bucket}/{prefix}", *more, env=self.env())["published"]

    def request(self, method, key, body=b""):
        """One request of S3, signed (AWS Signature Version 4)."""
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        path = urllib.parse.quote(f"/{self.bucket}/{key}")
        digest = hashlib.sha256(body).hexdigest()
        host = f"localhost:{self.port}"
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(headers)
        canonical = "\n".join([method, path, "", *(f"{name}:{value}" for name, value in headers.items()), "", names, digest])
        scope = f"{day}/us-east-1/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key_bytes = f"AWS4{self.facts['secret_key']}".encode()
        for part in (day, "us-east-1", "s3", "aws4_request", to_sign):
            key_bytes = hmac.new(key_bytes, part.encode(), hashlib.sha256).digest()
        credential = f"{self.facts['access_key']}/{scope}"
        headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={key_bytes.hex()}"
        context = ssl.create_default_context(cafile=self.facts["ca"])
        connection = http.client.HTTPSConnection("localhost", self.port, context=context)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        if answer.status != 200:
            raise Failure(f"{method} {path}: {answer.status} {found[:300]}")
        return found

    def stop(self):
        """Ends the server."""
        self.process.terminate()
        self.process.wait()


def inspected(made, folder):
    """What `s3ota inspect` says of an image."""
    path = Path(folder) / "inspected.bin"
    path.write_bytes(made)
    return s3ota("inspect", path)["image"]


def sketch_version(made, folder):
    """The version that an image names for its sketch."""
    return inspected(made, folder)["sketch_version"]


def clear(folder):
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    return Path(folder)


def pem_of(path):
    """The base64 of a PEM file, for a sketch."""
    der = ssl.PEM_cert_to_DER_cert(Path(path).read_text())
    return base64.b64encode(der).decode()
