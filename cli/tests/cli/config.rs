//! What people read when their config file is wrong.

use std::path::Path;

use anyhow::{Result, ensure};
use polkashots::config::Config;

const GOOD: &str = r#"[signing]
secret_key = "keys/polkashots.key"

[[target]]
id = "dot"
permalink = "dot/paritydb"
chain = "polkadot"
database = "paritydb"
pruning = "256"
source = { path = "/data" }
"#;

/// A line of the good file, what it is replaced by, and what is said.
const TABLE: &[(&str, &str, &str)] = &[
    (
        "id = \"dot\"",
        "id = \"Dot\"",
        "p.toml:5: target.id: target id \"Dot\" is not valid: expected 1 to 40 of a-z, 0-9 and '-', with no '-' at either end",
    ),
    (
        "permalink = \"dot/paritydb\"",
        "permalink = \"dot\"",
        "p.toml:6: target.permalink: permalink \"dot\" is not valid: expected two or three segments of a-z, 0-9 and '-', as in dot/paritydb",
    ),
    (
        "chain = \"polkadot\"",
        "chain = \"polkadto\"",
        "p.toml:7: target.chain = \"polkadto\": unknown chain; did you mean \"polkadot\"? known are kusama, paseo, polkadot, westend; any other needs a section [chains.polkadto]",
    ),
    (
        "database = \"paritydb\"",
        "database = \"sqlite\"",
        "p.toml:8: target.database: database \"sqlite\" is not valid: expected rocksdb or paritydb",
    ),
    (
        "pruning = \"256\"",
        "pruning = \"none\"",
        "p.toml:9: target.pruning = \"none\": expected what the node's --state-pruning was: a number of blocks, archive or archive-canonical",
    ),
    (
        "pruning = \"256\"",
        "prunning = \"256\"",
        "p.toml:9: unknown key \"prunning\": did you mean \"pruning\"? known keys here are id, permalink, chain, database, pruning, source, schedule, time_zone, formats, compression, retention, explorers, node",
    ),
    (
        "pruning = \"256\"",
        "pruning = 256",
        "p.toml:9: invalid type: integer \"256\", expected a string, in: pruning = 256",
    ),
    ("pruning = \"256\"\n", "", "p.toml:4: key \"pruning\" is missing"),
    (
        "pruning = \"256\"",
        "pruning = \"256\"\nschedule = \"hourly\"",
        "p.toml:10: target.schedule = \"hourly\": expected a cron expression of five fields, as in 0 4 * * *",
    ),
    (
        "pruning = \"256\"",
        "pruning = \"256\"\ntime_zone = \"Berlin\"",
        "p.toml:10: target.time_zone = \"Berlin\": expected an IANA time zone, as in Europe/Berlin or UTC",
    ),
    (
        "pruning = \"256\"",
        "pruning = \"256\"\nretention = { keep = 0 }",
        "p.toml:10: target.retention.keep = 0: expected 1 to 4294967295",
    ),
    (
        "pruning = \"256\"",
        "pruning = \"256\"\nretention = { grace_hours = 24 }",
        "p.toml:10: target.retention.grace_hours = 24: expected 72 to 4294967295",
    ),
    (
        "pruning = \"256\"",
        "pruning = \"256\"\ncompression = { level = 22 }",
        "p.toml:10: target.compression.level = 22: expected 1 to 19",
    ),
    (
        "pruning = \"256\"",
        "pruning = \"256\"\nformats = [\"zip\"]",
        "p.toml:10: target.formats = \"zip\": expected any of tar.zst, tar.lz4, tree, blocks.zst",
    ),
    (
        "pruning = \"256\"",
        "pruning = \"256\"\nformats = [\"blocks.zst\"]",
        "p.toml:10: target.formats = \"blocks.zst\": expected a section [export_blocks] with node_binary",
    ),
    (
        "[signing]",
        "[export_blocks]\nnode_binary = \"\"\n[signing]",
        "p.toml:2: export_blocks.node_binary = \"\": expected some text",
    ),
    (
        "pruning = \"256\"",
        "pruning = \"256\"\nexplorers = [{ name = \"x\", url = \"https://x.org/\" }]",
        "p.toml:10: target.explorers.url = \"https://x.org/\": expected an http(s) address with {height} or {hash} in it",
    ),
    (
        "{ path = \"/data\" }",
        "{ path = \"/data\", method = \"zfs\" }",
        "p.toml:10: target.source.method = \"zfs\": expected copy or btrfs",
    ),
    ("{ path = \"/data\" }", "{ path = \"\" }", "p.toml:10: target.source.path = \"\": expected some text"),
    (
        "{ path = \"/data\" }",
        "{ path = \"/data\", quiesce = { stop = [], start = [\"true\"] } }",
        "p.toml:10: target.source.quiesce.stop: empty, expected a program and its arguments",
    ),
    (
        "[signing]",
        "[site]\nlisten = \"8080\"\n[signing]",
        "p.toml:2: site.listen = \"8080\": expected an address and a port, as in 127.0.0.1:8080 or [::]:8080",
    ),
    (
        "[signing]",
        "[site]\nbase_url = \"example.org\"\n[signing]",
        "p.toml:2: site.base_url = \"example.org\": expected an http(s) address without query",
    ),
    (
        "[signing]",
        "[chains.polkadot]\ngenesis_hash = \"0x00\"\n[signing]",
        "p.toml:1: [chains.polkadot]: the chain is built in: remove the section or name it otherwise",
    ),
    (
        "[signing]",
        "[chains.x]\ngenesis_hash = \"0x00\"\n[signing]",
        "p.toml:2: chains.x.genesis_hash: block hash \"0x00\" is not valid: expected 0x and 64 lower-case hexadecimal digits",
    ),
    ("[signing]", "state_dri = \"x\"\n[signing]", "p.toml:1: unknown key \"state_dri\": did you mean \"state_dir\"?"),
    ("[signing]", "state_dir = \"bucket/state\"\n[signing]", "one lies in the other, expected separate directories"),
    ("[signing]\nsecret_key = \"keys/polkashots.key\"\n", "", "p.toml: section [signing] is missing"),
    ("[signing]", "[signing", "p.toml:1: "),
];

fn said(text: &str) -> Option<String> {
    Config::parse(Path::new("p.toml"), text).err().map(|error| error.to_string())
}

#[test]
fn every_mistake_names_file_line_key_value_and_what_was_expected() -> Result<()> {
    ensure!(said(GOOD).is_none(), "{:?}", said(GOOD));
    for (line, replacement, expected) in TABLE {
        ensure!(GOOD.contains(line), "{line} is not in the good file");
        let found = said(&GOOD.replacen(line, replacement, 1)).unwrap_or_default();
        ensure!(found.contains(expected), "{replacement}\n  said     {found}\n  expected {expected}");
    }
    Ok(())
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() -> Result<()> {
    let text = GOOD.replace("\"paritydb\"", "\"sqlite\"").replace("\"256\"", "\"none\"").replace("\"dot\"", "\"Dot\"");
    let found = said(&text).unwrap_or_default();
    let lines: Vec<&str> = found.lines().filter_map(|line| line.split(": ").next()).collect();
    ensure!(lines == ["p.toml:5", "p.toml:8", "p.toml:9"], "{found}");
    Ok(())
}

#[test]
fn ids_and_permalinks_are_taken_once() -> Result<()> {
    let section = &GOOD[GOOD.find("[[target]]").unwrap_or_default()..];
    let same_id = said(&format!("{GOOD}{}", section.replace("dot/", "x/"))).unwrap_or_default();
    ensure!(same_id == "p.toml:12: target.id = \"dot\": an earlier target has it, expected another", "{same_id}");
    let same_link = said(&format!("{GOOD}{}", section.replace("\"dot\"", "\"x\""))).unwrap_or_default();
    ensure!(
        same_link == "p.toml:13: target.permalink = \"dot/paritydb\": target \"dot\" has it, expected another",
        "{same_link}"
    );
    Ok(())
}

#[test]
fn relative_paths_start_at_the_files_folder_and_explorers_have_defaults() -> Result<()> {
    let config = Config::parse(Path::new("/etc/shots/p.toml"), GOOD)?;
    ensure!(config.state_dir == Path::new("/etc/shots/state"));
    ensure!(config.signing.secret_key == Path::new("/etc/shots/keys/polkashots.key"));
    let targets = config.targets();
    let names: Vec<&str> = targets.values().flat_map(|target| &target.explorers).map(|e| e.name.as_str()).collect();
    ensure!(names == ["Subscan", "Polkadot-JS Apps", "Statescan"], "{names:?}");
    Ok(())
}
