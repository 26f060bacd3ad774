//! The list of attacks and faults that must each have a case; a case is an entry of the hostile folder or a test.

use std::process::Command;

use anyhow::{Result, ensure};
use polkashots_shared::testkit::skip::report;

use crate::{foreign_archives, hostile};

/// Every attack and fault, and the case that shows what comes of it.
const LIST: &[(&str, &str)] = &[
    ("bad signature", "hostile::signatures_and_keys_that_are_not_right_are_refused"),
    ("wrong key", "hostile::signatures_and_keys_that_are_not_right_are_refused"),
    ("new key announced by a stranger", "rotation::a_key_that_the_pinned_one_announced_is_believed_and_no_other"),
    ("expired", "hostile::what_is_too_old_too_low_or_of_another_chain_is_refused"),
    ("rolled back", "hostile::an_older_snapshot_than_accepted_before_is_refused"),
    ("manifest too large", "hostile::signatures_and_keys_that_are_not_right_are_refused"),
    ("frames index lies about sizes", "frame size"),
    ("frames index lies about offsets", "frame offset"),
    ("frames index lies about order", "frames out of order"),
    ("frames index lies about overlap", "files overlap"),
    ("digest mismatch in one frame", "one frame is changed"),
    ("truncated archive", "archive is cut"),
    ("zip bomb", "zip bomb"),
    ("zip bomb in one frame", "hostile::a_signed_frame_that_unpacks_to_more_than_stated_is_not_written"),
    ("absolute path", "absolute path"),
    ("..", "parent path"),
    ("symlink", "hostile::links_and_devices_in_the_tar_stream_make_nothing"),
    ("hardlink", "hostile::links_and_devices_in_the_tar_stream_make_nothing"),
    ("device", "hostile::links_and_devices_in_the_tar_stream_make_nothing"),
    ("links at the destination", "hostile::links_at_the_destination_are_not_followed"),
    ("duplicate entry", "duplicate entry"),
    ("name with NUL", "nul in a name"),
    ("name with a newline", "newline in a name"),
    ("name that is not UTF-8", "name that is not UTF-8"),
    ("keystore inside", "keystore inside"),
    ("file where a directory is", "file where a folder is"),
    ("case collision", "case collision"),
    ("sparse bomb", "sparse bomb"),
    ("millions of entries", "hostile::a_frames_index_with_millions_of_entries_is_refused_while_it_is_read"),
    ("redirect to another host", "faults::redirects_lead_to_other_hosts_but_not_in_circles"),
    ("redirect loop", "faults::redirects_lead_to_other_hosts_but_not_in_circles"),
    ("http downgrade", "tls::a_redirect_from_https_to_http_is_refused"),
    ("server lies about length", "faults::servers_that_lie_about_lengths_and_places_are_refused"),
    ("server ignores ranges", "faults::a_server_that_ignores_ranges_is_read_in_one_stream"),
    ("200 for 206", "faults::one_stream_is_verified_like_ranges"),
    ("416", "faults::a_truncated_archive_is_refused_before_anything_is_written"),
    ("429 with Retry-After", "faults::storms_of_server_errors_are_weathered"),
    ("5xx storms", "faults::storms_of_server_errors_are_weathered"),
    ("connections cut at byte n", "faults::connections_cut_anywhere_are_continued_where_they_broke"),
    ("one byte at a time", "faults::a_connection_that_trickles_is_replaced"),
    ("object changes between requests", "faults::an_archive_that_changes_between_two_requests_is_refused"),
    ("a mirror that lies", "faults::another_mirror_is_asked_where_one_fails_lies_or_has_nothing"),
    ("full disk before", "disk::a_disk_that_is_too_small_is_said_so_before_anything_is_fetched"),
    ("full disk during", "disk::a_disk_that_fills_up_on_the_way_is_named_and_the_restore_continued"),
    ("read-only target", "disk::a_target_that_cannot_be_written_is_named"),
    (
        "somebody else's archive that was not asked for",
        "foreign::without_the_flag_an_unsigned_archive_is_refused_with_the_way_out",
    ),
    ("somebody else's: absolute path", "foreign absolute path"),
    ("somebody else's: ..", "foreign parent path"),
    ("somebody else's: symlink", "foreign symlink"),
    ("somebody else's: hardlink", "foreign hardlink"),
    ("somebody else's: device", "foreign device"),
    ("somebody else's: duplicate entry", "foreign duplicate file"),
    ("somebody else's: name with NUL", "foreign nul in a name"),
    ("somebody else's: name with a newline", "foreign newline in a name"),
    ("somebody else's: name that is not UTF-8", "foreign name that is not UTF-8"),
    ("somebody else's: keystore inside", "foreign keystore inside"),
    ("somebody else's: file where a directory is", "foreign file where a folder is"),
    ("somebody else's: case collision", "foreign case collision"),
    ("somebody else's: sparse bomb", "foreign sparse bomb"),
    ("somebody else's: zip bomb", "foreign bomb of zeros behind the end"),
    ("somebody else's: millions of entries", "foreign::half_a_million_entries_are_too_many"),
    ("somebody else's: truncated archive", "foreign::an_archive_cut_anywhere_is_refused"),
    ("somebody else's: connections cut at byte n", "foreign::cut_connections_are_taken_up_where_they_broke"),
    ("somebody else's: changes while it is read", "foreign::an_archive_that_changes_is_read_again_from_its_beginning"),
    ("somebody else's: stopped at any moment", "foreign::one_that_was_stopped_anywhere_ends_in_the_whole_database"),
    ("SIGKILL at any moment", "kill::a_restore_killed_at_any_moment_is_continued"),
    ("SIGKILL while updating", "kill::an_update_killed_at_any_moment_ends_in_the_new_database"),
];

/// How long the list is; it may grow.
const ATTACKS: usize = 67;

#[test]
fn no_attack_is_without_a_case() -> Result<()> {
    let listed = Command::new(std::env::current_exe()?).arg("--list").output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let tests: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let folder: Vec<&str> = hostile::attack_names().chain(foreign_archives::attack_names()).collect();
    ensure!(LIST.len() >= ATTACKS, "the list has {} attacks, expected {ATTACKS}", LIST.len());
    for (attack, case) in LIST {
        let is_there = tests.contains(case) || folder.contains(case);
        ensure!(is_there, "{attack:?} has no case: neither a test nor an entry of the folder is named {case:?}");
    }
    report(&format!("{} kinds of attack and fault, each with a case; {} hostile snapshots", LIST.len(), folder.len()));
    Ok(())
}
