//! SNTP messages (RFC 4330 section 4): 48 bytes each way.

/// Bytes of a message without extensions.
pub(super) const LENGTH: usize = 48;

/// Seconds from 1900, when NTP starts, to 1970.
const TO_1970: u64 = 2_208_988_800;

/// Seconds of an NTP era. The first one ends in 2036.
const ERA: u64 = 1 << 32;

/// A client's request: no leap warning, version 4, mode 3. The transmit timestamp is a nonce, which the server returns.
pub(super) fn request(nonce: [u8; 8]) -> [u8; LENGTH] {
    let mut message = [0; LENGTH];
    let (head, transmit) = message.split_at_mut(LENGTH - 8);
    if let Some(first) = head.first_mut() {
        *first = 0b00_100_011;
    }
    transmit.copy_from_slice(&nonce);
    message
}

/// Whether the originate timestamp is our nonce (RFC 4330 section 5, check 2).
pub(super) fn is_answer_to(answer: &[u8; LENGTH], nonce: [u8; 8]) -> bool {
    answer.get(24..32) == Some(&nonce[..])
}

/// The transmit timestamp of a synchronised server, in seconds since the Unix epoch: the two dates that it can mean, in this
/// NTP era and the next, which starts in 2036. `None` if the server is not synchronised.
pub(super) fn seconds_of(answer: &[u8; LENGTH]) -> Option<[u64; 2]> {
    let [flags, stratum, ..] = *answer;
    let (leap, version, mode) = (flags >> 6, flags >> 3 & 7, flags & 7);
    // Stratum 0 is a "kiss of death": ask less often, or not at all (RFC 4330 section 8).
    if leap == 3 || !(3..=4).contains(&version) || mode != 4 || !(1..=15).contains(&stratum) {
        return None;
    }
    let [.., a, b, c, d, _, _, _, _] = *answer;
    let seconds = u64::from(u32::from_be_bytes([a, b, c, d]));
    if seconds == 0 {
        return None;
    }
    Some([
        seconds.saturating_sub(TO_1970),
        seconds.saturating_add(ERA).saturating_sub(TO_1970),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 8] = *b"a nonce!";

    /// What a stratum 2 server says at `seconds` after 1900.
    fn answer(seconds: u32) -> [u8; LENGTH] {
        let mut message = [0; LENGTH];
        message[0] = 0b00_100_100;
        message[1] = 2;
        message[24..32].copy_from_slice(&NONCE);
        message[40..44].copy_from_slice(&seconds.to_be_bytes());
        message
    }

    #[test]
    fn a_question_is_a_version_4_client_message_with_the_nonce() {
        let question = request(NONCE);
        assert_eq!(question[0], 0x23);
        assert!(question[1..40].iter().all(|&byte| byte == 0));
        assert_eq!(question[40..], NONCE);
    }

    #[test]
    fn an_answer_gives_the_time_in_both_eras() {
        // 2026-07-14T00:23:28Z.
        let at = 0xee00_0000u32;
        let [this, next] = seconds_of(&answer(at)).expect("a good answer");
        assert_eq!(this, 1_783_988_608);
        assert_eq!(next, this + 4_294_967_296);
    }

    #[test]
    fn after_2036_the_second_date_is_the_right_one() {
        // One second into the second era: 2036-02-07T06:28:17Z.
        let [_, next] = seconds_of(&answer(1)).expect("a good answer");
        assert_eq!(next, 2_085_978_497);
    }

    #[test]
    fn an_answer_to_another_question_is_not_ours() {
        assert!(is_answer_to(&answer(1), NONCE));
        assert!(!is_answer_to(&answer(1), *b"another!"));
        // The nonce where we sent it, but not where the server returns it.
        assert!(!is_answer_to(&request(NONCE), NONCE));
    }

    #[test]
    fn a_server_without_the_time_is_not_believed() {
        let good = answer(0xee00_0000);
        for (at, byte, why) in [
            (0, 0b11_100_100, "its clock is not synchronised"),
            (0, 0b00_100_011, "a client's message"),
            (0, 0b00_100_101, "a broadcast"),
            (0, 0b00_010_100, "version 2"),
            (1, 0, "the kiss of death"),
            (1, 16, "an unsynchronised stratum"),
        ] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(seconds_of(&bad), None, "{why}");
        }
        assert_eq!(seconds_of(&answer(0)), None, "no time at all");
        assert!(seconds_of(&good).is_some());
    }
}
