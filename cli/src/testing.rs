//! Values that unit tests share.

use polkashots_shared::chain::Chain;
use polkashots_shared::ids::DatabaseKind;
use polkashots_shared::target::{Compression, Format, Retention, Target};

/// A target of that id on Polkadot.
pub fn target(id: &str) -> Target {
    Target {
        id: id.parse().expect("a target id"),
        permalink: "dot/rocksdb".parse().expect("a permalink"),
        chain: Chain::built_in("polkadot").expect("built in"),
        database: DatabaseKind::RocksDb,
        pruning: "256".into(),
        node: None,
        formats: vec![Format::TarZst],
        compression: Compression::default(),
        retention: Retention::default(),
        schedule: None,
        time_zone: "UTC".into(),
        explorers: Vec::new(),
    }
}
