//! In place of esp-rom-sys on the host: those functions of the chip's ROM that `esp-bootloader-esp-idf` and `esp-hal-ota`
//! call, under the same names.

#![forbid(unsafe_code)]

/// What lies in ROM.
pub mod rom {
    /// Checksums.
    pub mod crc {
        /// CRC-32 as zlib computes it: `crc` is the result for what came before, 0 for nothing.
        pub fn crc32_le(crc: u32, bytes: &[u8]) -> u32 {
            let step = |crc: u32, _| {
                if crc & 1 == 1 {
                    crc >> 1 ^ 0xedb8_8320
                } else {
                    crc >> 1
                }
            };
            let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
            !bytes.iter().fold(!crc, byte)
        }
    }

    /// MD5.
    pub mod md5 {
        use md5::Digest as _;

        /// A digest.
        pub struct Digest(pub [u8; 16]);

        /// A digest in the making.
        #[derive(Default)]
        pub struct Context(md5::Md5);

        impl Context {
            /// The digest of nothing yet.
            pub fn new() -> Self {
                Self::default()
            }

            /// Takes more bytes in.
            pub fn consume(&mut self, bytes: impl AsRef<[u8]>) {
                self.0.update(bytes);
            }

            /// The digest of all of them.
            pub fn compute(self) -> Digest {
                Digest(self.0.finalize().into())
            }
        }
    }
}
