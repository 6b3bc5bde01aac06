/*
 * Where the image says which version the sketch is.
 *
 * The descriptor of an Arduino image holds the core's version, so `s3ota publish` could not know the sketch's. Here it is
 * put into the image as a marker of 64 bytes: 16 that begin every marker, and the version. A literal that is given to
 * `begin` gets one by itself; S3OTA_VERSION makes one in any case, or does not compile.
 */
#ifndef S3OTA_VERSION_H
#define S3OTA_VERSION_H

#include <stdint.h>

namespace s3ota {

/* The marker: VersionMarker in crates/s3ota-image/src/app/version.rs. */
struct VersionMarker {
  char magic[16];
  char version[48];
};

}  // namespace s3ota

/*
 * The version of the sketch, a text in quotes of at most 47 characters, as an expression:
 *
 *   ota.begin(MANIFEST_URL, S3OTA_VERSION("1.2.0"));
 */
#define S3OTA_VERSION(literal)                                                                        \
  ([]() -> const char* {                                                                              \
    static_assert(sizeof("" literal "") > 1, "the version is empty: write it like \"1.2.0\"");        \
    static_assert(sizeof("" literal "") <= 48, "the version has more than 47 characters");            \
    static const ::s3ota::VersionMarker marker __attribute__((used)) = {                              \
        "\xF5"                                                                                        \
        "s3ota-version\x01",                                                                          \
        "" literal ""};                                                                               \
    return marker.version;                                                                            \
  }())

/* How the assembler gets at what is in read-only data, and how the compiler writes a plain number for it. Where that is not
 * known, and without optimisation, a literal gets no marker, and S3OTA_VERSION does the same. */
#if defined(__OPTIMIZE__) && defined(__GNUC__) && !defined(__clang__)
#if defined(__XTENSA__)
#define S3OTA_ADDRESS "movi %0, 1b"
#define S3OTA_WORD "%"
#elif defined(__riscv)
#define S3OTA_ADDRESS "la %0, 1b"
#define S3OTA_WORD "%"
#elif defined(__x86_64__)
#define S3OTA_ADDRESS "leaq 1b(%%rip), %0"
#define S3OTA_WORD "%c"
#elif defined(__aarch64__)
#define S3OTA_ADDRESS "adrp %0, 1b\n\tadd %0, %0, :lo12:1b"
#define S3OTA_WORD "%c"
#endif
#endif

#define S3OTA_ALWAYS inline __attribute__((always_inline))

namespace s3ota {

/* Four bytes of a text of `length` bytes as a little-endian number, with zeros behind its end. */
static S3OTA_ALWAYS uint32_t word(const char* text, uint32_t length, uint32_t at) {
  return (at + 0 < length ? static_cast<uint32_t>(static_cast<uint8_t>(text[at + 0])) : 0u) |
         (at + 1 < length ? static_cast<uint32_t>(static_cast<uint8_t>(text[at + 1])) << 8 : 0u) |
         (at + 2 < length ? static_cast<uint32_t>(static_cast<uint8_t>(text[at + 2])) << 16 : 0u) |
         (at + 3 < length ? static_cast<uint32_t>(static_cast<uint8_t>(text[at + 3])) << 24 : 0u);
}

/*
 * Puts a version into the image, if the compiler knows it: a literal, or a constant with one. Returns the marker, so that the
 * linker keeps it; or nullptr.
 */
static S3OTA_ALWAYS const VersionMarker* mark(const char* version) {
  const VersionMarker* marker = nullptr;
#ifdef S3OTA_ADDRESS
  // Not const: the compiler would answer __builtin_constant_p for their initialisers before it has inlined anything.
  uint32_t length = __builtin_strlen(version);
  uint32_t a = word(version, length, 0), b = word(version, length, 4), c = word(version, length, 8),
                 d = word(version, length, 12), e = word(version, length, 16), f = word(version, length, 20),
                 g = word(version, length, 24), h = word(version, length, 28), i = word(version, length, 32),
                 j = word(version, length, 36), k = word(version, length, 40), l = word(version, length, 44);
  if (__builtin_constant_p(length) && length > 0 && length < 48 && __builtin_constant_p(a) && __builtin_constant_p(b) &&
      __builtin_constant_p(c) && __builtin_constant_p(d) && __builtin_constant_p(e) && __builtin_constant_p(f) &&
      __builtin_constant_p(g) && __builtin_constant_p(h) && __builtin_constant_p(i) && __builtin_constant_p(j) &&
      __builtin_constant_p(k) && __builtin_constant_p(l)) {
    asm(".pushsection .rodata.s3ota_version.%=,\"a\",@progbits\n"
        "\t.balign 4\n"
        "1:\t.byte 0xF5\n"
        "\t.ascii \"s3ota-version\"\n"
        "\t.byte 1, 0\n"
        "\t.4byte " S3OTA_WORD "1, " S3OTA_WORD "2, " S3OTA_WORD "3, " S3OTA_WORD "4\n"
        "\t.4byte " S3OTA_WORD "5, " S3OTA_WORD "6, " S3OTA_WORD "7, " S3OTA_WORD "8\n"
        "\t.4byte " S3OTA_WORD "9, " S3OTA_WORD "10, " S3OTA_WORD "11, " S3OTA_WORD "12\n"
        "\t.popsection\n"
        "\t" S3OTA_ADDRESS
        : "=r"(marker)
        : "i"(a), "i"(b), "i"(c), "i"(d), "i"(e), "i"(f), "i"(g), "i"(h), "i"(i), "i"(j), "i"(k), "i"(l));
  }
#else
  (void)version;
#endif
  return marker;
}

}  // namespace s3ota

#endif
