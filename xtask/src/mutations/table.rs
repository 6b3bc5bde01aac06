//! The defences, and how each is taken away.

use super::Mutation;

const SIGNATURE: &str = "crates/s3ota-manifest/src/signature.rs";
const STATEMENT: &str = "crates/s3ota-manifest/src/statement.rs";
const MANIFEST: &str = "crates/s3ota-manifest/src/manifest.rs";
const VERSION: &str = "crates/s3ota-manifest/src/version.rs";
const URL: &str = "crates/s3ota-manifest/src/url.rs";
const DECISION: &str = "crates/s3ota/src/check/decision.rs";
const ROLLBACK_STATE: &str = "crates/s3ota/src/boot/rollback_state.rs";
const OTADATA: &str = "crates/s3ota/src/boot/otadata.rs";
const CHECK: &str = "crates/s3ota/src/check/mod.rs";
const STANDING: &str = "crates/s3ota/src/check/standing.rs";
const ATTEMPT: &str = "crates/s3ota/src/updater/attempt.rs";
const RETRY: &str = "crates/s3ota/src/updater/retry.rs";
const INSTALL: &str = "crates/s3ota/src/install/mod.rs";
const SOURCE: &str = "crates/s3ota/src/install/source.rs";
const IMAGE: &str = "crates/s3ota/src/install/check.rs";
const WRITER: &str = "crates/s3ota/src/install/writer.rs";
const TRIAL: &str = "crates/s3ota/src/boot/trial.rs";
const LAUNCH: &str = "crates/s3ota/src/boot/launch.rs";
const LINK: &str = "crates/s3ota/src/net/link.rs";
const WEAR: &str = "crates/s3ota/src/install/wear.rs";
const AGENT: &str = "crates/s3ota/src/agent.rs";

/// A field that is not in the statement any more, and the tests that must fail.
const fn unsigned(
    without: &'static str,
    old: &'static str,
    new: &'static str,
    tests: &'static [&'static str],
) -> Mutation {
    of(without, STATEMENT, old, new, tests)
}

const fn of(
    without: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
    tests: &'static [&'static str],
) -> Mutation {
    Mutation {
        without,
        file,
        old,
        new,
        tests,
    }
}

/// All of them.
pub(super) const MUTATIONS: &[Mutation] = &[
    // Who may release.
    of(
        "the signature being verified",
        SIGNATURE,
        "    if key.verifies(&manifest.statement_digest(), der) {",
        "    if key.verifies(&manifest.statement_digest(), der) || true {",
        &[
            "keys::arbitrary_install",
            "keys::signature_over_other_bytes",
            "keys::signature_of_one_key_under_the_name_of_another",
            "keys::signature_that_is_garbage",
            "keys::signature_in_its_other_form",
            "keys::fields_taken_away_or_changed_under_the_signature",
            "keys::rollout_manipulated",
            "servers::malicious_mirror",
        ],
    ),
    of(
        "a signature being asked for",
        STANDING,
        "let key = if config.release_keys.is_empty() {",
        "let key = if config.release_keys.is_empty() || manifest.signature.is_none() {",
        &["keys::arbitrary_install"],
    ),
    of(
        "keys being told apart: any will do, and it is the first",
        SIGNATURE,
        ".find(|(id, _)| id.is(signature.keyid))",
        ".next()",
        &[
            "keys::what_a_trusted_key_signed_is_installed",
            "keys::key_that_goes_brings_back_what_its_successor_replaced",
        ],
    ),
    of(
        "an unknown key being refused",
        STANDING,
        "            Some(ok!(key.map_err(ReleaseError::Signature)))",
        "            match key {\n                Err(s3ota_manifest::SignatureError::UnknownKey) => None,\n                key => Some(key.map_err(ReleaseError::Signature)?),\n            }",
        &[
            "keys::arbitrary_install",
            "keys::key_rotation",
            "keys::key_compromise_with_fast_forward",
            "keys::firmware_that_trusts_no_key_in_use_is_not_confirmed",
            "servers::redirect_to_the_attackers_host",
        ],
    ),
    of(
        "size and hash having to be signed",
        SIGNATURE,
        "if self.size.is_none() || self.sha256.is_none() {",
        "if false {",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    of(
        "a firmware having to prove itself before it is confirmed",
        AGENT,
        "        self.updater.prove_within(left).await?;",
        "        let _ = apart!(self.updater.check());",
        &[
            "keys::firmware_that_trusts_no_key_in_use_is_not_confirmed",
            "keys::firmware_that_would_refuse_its_own_successor_is_not_confirmed",
        ],
    ),
    // What is signed.
    unsigned(
        "the version being signed",
        "writeln!(out, \"version={}\", self.version)?;",
        "",
        &["versions::rollback", "servers::malicious_mirror"],
    ),
    unsigned(
        "the size being signed",
        "writeln!(out, \"size={size}\")?;",
        "let _ = size;",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    unsigned(
        "the hash being signed",
        "writeln!(out, \"sha256={sha256}\")?;",
        "let _ = sha256;",
        &["keys::arbitrary_install"],
    ),
    unsigned(
        "the project being signed",
        "writeln!(out, \"project={project}\")?;",
        "let _ = project;",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    unsigned(
        "the chip being signed",
        "writeln!(out, \"chip={chip}\")?;",
        "let _ = chip;",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    unsigned(
        "the board being signed",
        "writeln!(out, \"board={board}\")?;",
        "let _ = board;",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    unsigned(
        "the channel being signed",
        "writeln!(out, \"channel={channel}\")?;",
        "let _ = channel;",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    unsigned(
        "the rollout being signed",
        "writeln!(out, \"rollout={rollout}\")?;",
        "let _ = rollout;",
        &[
            "keys::rollout_manipulated",
            "keys::fields_taken_away_or_changed_under_the_signature",
        ],
    ),
    unsigned(
        "min_version being signed",
        "writeln!(out, \"min_version={version}\")?;",
        "let _ = version;",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    unsigned(
        "the permission to go back being signed",
        "writeln!(out, \"downgrade=true\")?;",
        "",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    unsigned(
        "the serial being signed",
        "writeln!(out, \"serial={serial}\")?;",
        "let _ = serial;",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    unsigned(
        "the expiry being signed",
        "writeln!(out, \"expires={expires}\")?;",
        "let _ = expires;",
        &["keys::fields_taken_away_or_changed_under_the_signature"],
    ),
    // Documents.
    of(
        "a field that comes twice being refused",
        MANIFEST,
        "if slot.is_some() {",
        "if false {",
        &["documents::duplicate_json_keys_with_different_values"],
    ),
    of(
        "the document having to end",
        MANIFEST,
        "        // The loop ended with the object; now the document must end too.\n        reader.next()?;",
        "",
        &["documents::duplicate_json_keys_with_different_values"],
    ),
    of(
        "numbers of a version having to be digits: what is none counts as 1",
        VERSION,
        "        return Err(VersionError::NotANumber);",
        "        return Ok(1);",
        &["documents::number_and_unicode_confusions_in_versions"],
    ),
    of(
        "numbers of a version having to fit: they wrap around",
        VERSION,
        "    text.parse().map_err(|_| VersionError::NumberTooLarge)",
        "    let add = |n: u64, digit: u8| n.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));\n    Ok(text.bytes().fold(0, add))",
        &["documents::number_and_unicode_confusions_in_versions"],
    ),
    of(
        "numbers of a version having one spelling",
        VERSION,
        "    if has_leading_zero(text) {",
        "    if false {",
        &["documents::number_and_unicode_confusions_in_versions"],
    ),
    of(
        "control characters being refused",
        MANIFEST,
        "} else if text.contains(char::is_control) {",
        "} else if false {",
        &["documents::number_and_unicode_confusions_in_versions"],
    ),
    of(
        "versions being compared as numbers",
        VERSION,
        "        (self.major, self.minor, self.patch)\n            .cmp(&(other.major, other.minor, other.patch))",
        "        (self.major, self.minor.leading_ones(), self.patch)\n            .cmp(&(other.major, other.minor.leading_ones(), other.patch))",
        &[
            "documents::spelling_of_a_value_makes_no_difference",
            "versions::rollback",
        ],
    ),
    of(
        "URLs having to be https",
        URL,
        "    if scheme.eq_ignore_ascii_case(\"https\") {",
        "    if !scheme.is_empty() {",
        &[
            "images::substituted_pre_signed_url",
            "servers::redirect_to_the_attackers_host",
        ],
    ),
    // Old manifests.
    of(
        "expiry",
        DECISION,
        "    if has_expired(manifest.expires, facts.now, config) {",
        "    if false && has_expired(manifest.expires, facts.now, config) {",
        &[
            "time::freeze_while_the_time_is_known",
            "time::freeze_while_the_time_is_unknown",
            "time::freeze_by_saying_that_nothing_has_changed",
            "time::forged_time_does_not_outlive_a_restart",
            "time::downgrade_permission_that_has_expired",
        ],
    ),
    of(
        "the date of the build, where the time is unknown",
        DECISION,
        "    let time = now.unwrap_or(config.built_at);",
        "    let _ = config;\n    let time = now.unwrap_or(0);",
        &["time::freeze_while_the_time_is_unknown"],
    ),
    of(
        "a date before the build being none",
        CHECK,
        ".filter(|&now| now >= config.built_at)",
        ".filter(|_| true)",
        &["time::freeze_while_the_time_is_unknown"],
    ),
    of(
        "looking again at a manifest that has not changed, once it has expired",
        CHECK,
        ".is_some_and(|(_, expires)| has_expired(*expires, now, config))",
        ".is_some_and(|(_, expires)| false && has_expired(*expires, now, config))",
        &["time::freeze_by_saying_that_nothing_has_changed"],
    ),
    of(
        "serials",
        DECISION,
        "    if manifest.serial.unwrap_or(0) < signer.newest {",
        "    if false && manifest.serial.unwrap_or(0) < signer.newest {",
        &[
            "time::replay_of_an_older_signed_manifest",
            "time::replay_after_updates",
            "time::freeze_while_the_time_is_unknown",
            "time::downgrade_permission_replayed",
            "keys::key_that_goes_brings_back_what_its_successor_replaced",
            "keys::key_compromise_with_fast_forward",
            "keys::owners_clock_is_wrong_once",
            "memory::memory_outlives_power_cuts",
            "memory::memory_outlives_full_logs",
            "servers::malicious_mirror",
        ],
    ),
    of(
        "the newest serial being good again: the way out of the greatest one",
        DECISION,
        "    if manifest.serial.unwrap_or(0) < signer.newest {",
        "    if manifest.serial.unwrap_or(0) <= signer.newest {",
        &[
            "keys::key_compromise_with_fast_forward",
            "time::replay_of_an_older_signed_manifest",
        ],
    ),
    of(
        "a key being free of what those behind it have said",
        ROLLBACK_STATE,
        "            if id == signer {\n                break;\n            }\n",
        "",
        &["keys::key_compromise_with_fast_forward"],
    ),
    of(
        "a key being bound by what those before it have said",
        ROLLBACK_STATE,
        "        for id in keys.iter().map(ReleaseKey::id) {",
        "        for id in keys.iter().map(ReleaseKey::id).filter(|id| *id == signer) {",
        &["keys::key_that_goes_brings_back_what_its_successor_replaced"],
    ),
    of(
        "each channel counting for itself",
        ROLLBACK_STATE,
        "    hash.update(channel.unwrap_or_default());",
        "    let _ = channel;",
        &["time::release_of_another_channel"],
    ),
    of(
        "the channel",
        DECISION,
        "    if let (Some(expected), Some(found)) = (config.channel(), offered)\n        && expected != found",
        "    if let (Some(expected), Some(found)) = (config.channel(), offered)\n        && false",
        &["time::release_of_another_channel"],
    ),
    // Going back.
    of(
        "the order of versions",
        DECISION,
        "        Ordering::Less if may_downgrade(manifest, facts) => {}",
        "        Ordering::Less if may_downgrade(manifest, facts) || true => {}",
        &["versions::rollback", "time::downgrade_without_permission"],
    ),
    of(
        "a permission having to be given by someone",
        DECISION,
        "    facts.signer.is_some()\n        && manifest.downgrade\n",
        "    manifest.downgrade\n",
        &["time::downgrade_without_permission"],
    ),
    of(
        "a permission having to be given at all",
        DECISION,
        "        && manifest.downgrade\n",
        "",
        &["time::downgrade_without_permission"],
    ),
    of(
        "a permission having to have a serial",
        DECISION,
        "        && manifest.serial.is_some()\n",
        "",
        &["time::downgrade_without_permission"],
    ),
    of(
        "a permission having to expire",
        DECISION,
        "        && manifest.expires.is_some()\n",
        "",
        &["time::downgrade_without_permission"],
    ),
    of(
        "the time having to be known for a permission",
        DECISION,
        "        && facts.now.is_some()\n",
        "",
        &["time::downgrade_without_permission"],
    ),
    of(
        "min_version",
        DECISION,
        "    if MinVersion::of(&manifest.version) < signer.min_version {",
        "    if false && MinVersion::of(&manifest.version) < signer.min_version {",
        &[
            "versions::release_below_the_floor",
            "versions::floor_after_an_image_was_rolled_back",
            "keys::key_compromise_with_fast_forward",
            "memory::memory_outlives_power_cuts",
        ],
    ),
    of(
        "a min_version that leaves pre-releases alone",
        DECISION,
        "    if MinVersion::of(&manifest.version) < signer.min_version {",
        "    if manifest.version < signer.min_version.version() {",
        &["versions::floor_of_a_pre_release_does_not_forbid_it"],
    ),
    of(
        "a min_version that is no higher than its own release",
        ROLLBACK_STATE,
        "            MinVersion::of(&least).min(MinVersion::of(&manifest.version))",
        "            MinVersion::of(&least)",
        &["versions::floor_above_its_own_release_locks_nobody_out"],
    ),
    of(
        "min_version where a confirmed firmware asks to be rolled back",
        TRIAL,
        " && is_at_least(&image, min_version) {",
        " && (is_at_least(&image, min_version) || true) {",
        &["versions::floor_after_an_image_was_rolled_back"],
    ),
    of(
        "rollback state going on from one record to the next",
        OTADATA,
        "        for (kind, value) in state.entries() {",
        "        for (kind, value) in state.entries().take(0) {",
        &[
            "time::replay_after_updates",
            "memory::memory_outlives_full_logs",
        ],
    ),
    of(
        "rollback state in both sectors",
        OTADATA,
        "            for sector in [1 - spare, spare] {",
        "            for sector in [spare] {",
        &["memory::memory_outlives_power_cuts"],
    ),
    of(
        "a full log being begun anew",
        OTADATA,
        "                    self.renew(flash, sector)?;",
        "",
        &["memory::memory_outlives_full_logs"],
    ),
    // Images.
    of(
        "the manifest's project",
        DECISION,
        "        && !config.takes_project(own, found)",
        "        && false && !config.takes_project(own, found)",
        &["images::image_of_another_product_signed_by_the_same_key"],
    ),
    of(
        "the image's project",
        IMAGE,
        "        if let Some(expected) = other {",
        "        if let Some(expected) = other.filter(|_| false) {",
        &[
            "images::image_of_another_product_signed_by_the_same_key",
            "images::image_whose_descriptor_lies",
        ],
    ),
    of(
        "the image's version",
        IMAGE,
        "            && !self.announced.is_called(&found)",
        "            && false",
        &[
            "images::image_whose_descriptor_lies",
            "images::mix_and_match_of_manifest_and_image",
            "servers::malicious_mirror",
        ],
    ),
    of(
        "the image's chip",
        IMAGE,
        "            if chip != Some(self.config.chip) {",
        "            if false {",
        &[
            "images::wrong_target",
            "images::image_whose_descriptor_lies",
        ],
    ),
    of(
        "the manifest's chip",
        DECISION,
        "        && chip != config.chip.name()",
        "        && false",
        &["images::wrong_target"],
    ),
    of(
        "the board",
        DECISION,
        "        && let Some(found) = manifest.board.or(facts.signer.map(|_| \"none\"))\n        && expected != found",
        "        && let Some(found) = manifest.board.or(facts.signer.map(|_| \"none\"))\n        && false",
        &["images::wrong_target"],
    ),
    of(
        "a signed manifest having to name the board",
        DECISION,
        ".or(facts.signer.map(|_| \"none\"))",
        "",
        &["images::wrong_target"],
    ),
    of(
        "the image's hash",
        WRITER,
        "        if sha256.is_some_and(|expected| expected != image.sha256) {",
        "        if false {",
        &[
            "images::mix_and_match_of_manifest_and_image",
            "images::substituted_pre_signed_url",
            "servers::redirect_to_the_attackers_host",
        ],
    ),
    of(
        "the size being held against the slot before anything is fetched",
        DECISION,
        "        && size > facts.room",
        "        && false",
        &["images::size_is_known_before_anything_is_fetched"],
    ),
    of(
        "the size being held against what the server announces",
        INSTALL,
        "            limits.announce(length)?;",
        "",
        &["images::truncated_and_extended_images_with_the_right_prefix"],
    ),
    of(
        "the size being held against what arrives",
        WRITER,
        "            && expected != self.written",
        "            && false",
        &["images::truncated_and_extended_images_with_the_right_prefix"],
    ),
    // Servers.
    of(
        "a limit to what is read of an image",
        SOURCE,
        "        if let Some(expected) = self.exact\n            && arrived > u64::from(expected)",
        "        if let Some(expected) = self.exact\n            && false",
        &["servers::endless_data"],
    ),
    of(
        "a limit to what is read of a manifest",
        CHECK,
        "            _ if filled == MAX_DOCUMENT => return Err(too_long()),",
        "            _ if filled == MAX_DOCUMENT => {}",
        &["servers::endless_data"],
    ),
    of(
        "a deadline",
        LINK,
        "        let wait = self.idle.min(self.left());",
        "        let wait = self.idle;",
        &["servers::slow_retrieval"],
    ),
    of(
        "a limit to the attempts",
        RETRY,
        "                && attempt < self.config.timeouts.attempts\n",
        "",
        &["servers::repository_denial_of_service"],
    ),
    // What a release must prove before it stays.
    of(
        "a firmware being asked whether it would take its successor",
        STANDING,
        "        identify(\n            manifest,\n            config,\n            &self.facts(manifest, config, now, key, &state),\n        )",
        "        let _ = (key, state, now, identify);\n        Ok(())",
        &[
            "keys::firmware_that_would_refuse_its_own_successor_is_not_confirmed",
            "keys::firmware_is_not_confirmed_by_a_manifest_that_was_brought_back",
        ],
    ),
    of(
        "the successor's image being fetched",
        ATTEMPT,
        "        let want = end_of(manifest).map_or(Want::All, Want::Rest);",
        "        let want = end_of(manifest).map_or(Want::All, Want::Rest);\n        if session.is_usable() || true {\n            return Ok(());\n        }",
        &["keys::firmware_that_would_refuse_its_own_successor_is_not_confirmed"],
    ),
    // What failed.
    of(
        "a failed release being carried from log to log",
        ROLLBACK_STATE,
        "        claims.chain(self.tried.iter().map(Tries::entry))",
        "        claims.chain(self.tried.iter().take(0).map(Tries::entry))",
        &["memory::release_that_failed_is_not_tried_again_though_it_is_signed_anew"],
    ),
    of(
        "a note of what a bootloader gave up by itself",
        OTADATA,
        "                let _ = self.note(flash, 1 - sector, ended);",
        "                let _ = ended;",
        &["memory::releases_that_failed_are_remembered_through_others_that_fail"],
    ),
    // Bricks.
    of(
        "the old firmware launching the trial",
        TRIAL,
        "        launches && launch::may_launch(&image)",
        "        launches && false && launch::may_launch(&image)",
        &[
            "bricks::image_selected_before_it_is_confirmed",
            "bricks::image_that_never_reaches_its_guard",
        ],
    ),
    of(
        "a launched firmware knowing that it is on trial",
        TRIAL,
        "    trial.filter(|trial| trial.is_of(on_flash.running))",
        "    trial.filter(|_| false)",
        &[
            "bricks::launched_firmware_that_takes_itself_for_confirmed",
            "bricks::launched_firmware_whose_launcher_broke",
        ],
    ),
    of(
        "an image being launched only if its guard knows of that",
        LAUNCH,
        "    guard.is_none_or(|guard| guard.version() >= GuardMarker::LAUNCHED)",
        "    guard.is_none_or(|guard| guard.version() > 0)",
        &["bricks::image_whose_guard_knows_of_no_launch"],
    ),
    of(
        "a launched trial ending after its boots",
        OTADATA,
        "        self.counted > u32::from(of) || self.spared > MAX_SPARED_BOOTS",
        "        false && self.counted > u32::from(of) + MAX_SPARED_BOOTS",
        &["bricks::image_that_never_reaches_its_guard"],
    ),
    of(
        "a launched trial ending with the record that confirms it",
        LAUNCH,
        "        && otadata.newest_sequence() <= trial.newest_sequence()\n",
        "        && otadata.newest_sequence() <= trial.newest_sequence().max(u32::MAX)\n",
        &["bricks::trial_record_that_is_over_comes_back"],
    ),
    of(
        "both images of a launched trial being those that it began with",
        LAUNCH,
        "        return Ok(print == trial.print());",
        "        return Ok(print == trial.print() || true);",
        &["bricks::image_changed_by_cable_in_the_middle_of_a_trial"],
    ),
    of(
        "a launched image that is refused having failed",
        TRIAL,
        "            if note_end(flash, otadata, trial, true).is_ok() {",
        "            if trial.since > 0 {",
        &["bricks::image_damaged_after_it_was_checked"],
    ),
    // What the bootloader would refuse, and what must not be lost.
    of(
        "what an image asks of the chip",
        IMAGE,
        "            fits.map_err(FirmwareError::Misfit)?;",
        "            let _ = fits;",
        &["images::image_that_the_bootloader_would_refuse_on_this_chip"],
    ),
    of(
        "the running image's secure version",
        STANDING,
        "            secure_version: Some(least.max(self.secure_version)),",
        "            secure_version: Some(least),",
        &["images::image_that_the_bootloader_would_refuse_on_this_chip"],
    ),
    of(
        "the boot guard having to stay",
        IMAGE,
        "        if self.guard && image.guard.is_none() {",
        "        if false {",
        &["images::image_that_loses_the_boot_guard_or_its_signature"],
    ),
    of(
        "the signature for Secure Boot having to stay",
        IMAGE,
        "        if self.signature.is_some() && self.signature != image.signature {",
        "        if false {",
        &["images::image_that_loses_the_boot_guard_or_its_signature"],
    ),
    // Wear.
    of(
        "a limit to the erasures",
        WEAR,
        "        if !rest.is_zero() {",
        "        if false {",
        &["wear::hostile_day_costs_a_slot_two_erasures_an_hour_and_eight_in_all"],
    ),
    of(
        "a refused image resting",
        WEAR,
        "            self.until = seconds(now).saturating_add(pause(times));",
        "            let _ = (times, pause(times), seconds(now));",
        &["wear::image_that_is_refused_is_fetched_twice_and_then_rests"],
    ),
];
