"""App images as `idf.py build` makes them, as far as a device looks at them."""
import hashlib, random, struct

DROM = 0x3C00_0020  # where the C3 maps read-only data


def image(version, project="lamp-ethernet", size=600_000):
    """An image for the ESP32-C3 with a descriptor, the mark of a boot guard, and noise up to about this size."""
    descriptor = struct.pack("<4I32s32s16s16s32s32s80x", 0xABCD5432, 0, 0, 0, version.encode(), project.encode(), b"12:00:00", b"Nov 29 2026", b"v5.3", b"")
    noise = random.Random(version).randbytes((size - len(descriptor)) // 4 * 4)
    segment = descriptor + guard_marker() + noise
    segment += bytes(-len(segment) % 4)
    header = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, 0x4200_0020) + struct.pack("<BBBBHBHHIB", 0xEE, 0, 0, 0, 5, 0, 0, 0xFFFF, 0, 1)
    body = header + struct.pack("<II", DROM, len(segment)) + segment
    checksum = 0xEF
    for byte in segment:
        checksum ^= byte
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def guard_marker():
    """The mark that tells an image with a boot guard from one without: s3ota-image, app/marker.rs."""
    kind, version = 2, 1  # that of ESP-IDF
    return b"\xF3s3ota-boot-guard" + bytes([kind, version, kind ^ version ^ 0x2A])
