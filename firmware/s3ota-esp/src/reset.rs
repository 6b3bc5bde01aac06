//! Why the chip started, for a trial.

use s3ota::Reset;

/// What a reset reason says about the firmware that ran before.
///
/// `reason` is the mask ROM's number (`rtc_get_reset_reason`), which means the same on all chips that have it
/// (ESP-IDF, `components/soc/*/include/soc/reset_reasons.h`). `None`: esp-hal does not know it.
pub(crate) fn reset_of(reason: Option<u32>) -> Reset {
    match reason {
        // Power on, or the reset pin. On chips newer than the ESP32, some brown-outs too.
        Some(0x01)
        // Brown-out.
        | Some(0x0f)
        // The cable: USB UART, USB JTAG, JTAG.
        | Some(0x15 | 0x16 | 0x18)
        // A glitch of the power supply.
        | Some(0x17 | 0x19) => Reset::PowerOn,
        Some(0x05) => Reset::Wake,
        // Watchdogs (0x07 to 0x0b, 0x0d, 0x10 to 0x12), software (0x03, 0x0c), a CPU lockup (0x1a), and unknown ones.
        _ => Reset::Crash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_power_nor_the_cable_nor_waking_counts_against_a_firmware() {
        for power in [0x01, 0x0f, 0x15, 0x16, 0x17, 0x18, 0x19] {
            assert_eq!(reset_of(Some(power)), Reset::PowerOn, "{power:#x}");
        }
        assert_eq!(reset_of(Some(0x05)), Reset::Wake);
    }

    #[test]
    fn whatever_else_started_the_chip_counts() {
        let spared = [0x01, 0x05, 0x0f, 0x15, 0x16, 0x17, 0x18, 0x19];
        for reason in (0..=0xff).filter(|reason| !spared.contains(reason)) {
            assert_eq!(reset_of(Some(reason)), Reset::Crash, "{reason:#x}");
        }
        assert_eq!(reset_of(None), Reset::Crash);
    }
}
