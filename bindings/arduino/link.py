# PlatformIO: links the archive for the board's chip. (The Arduino IDE finds it by `precompiled` in library.properties.) It runs in the
# library's folder.
import os
import sys

Import("env")  # noqa: F821: PlatformIO's

chip = env.get("BOARD_MCU", "")  # noqa: F821
folder = os.path.realpath(os.path.join("src", chip))
if not os.path.exists(os.path.join(folder, "libs3ota.a")):
    have = sorted(name for name in os.listdir("src") if os.path.exists(os.path.join("src", name, "libs3ota.a")))
    sys.stderr.write(f"s3ota: there is no archive for the chip {chip}; there are: {', '.join(have) or 'none'}\n")
    env.Exit(1)  # noqa: F821

env.Append(LIBPATH=[folder], LIBS=["s3ota"])  # noqa: F821
