//! The settings of `polkashots-engine`.

use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use polkashots_shared::settings::{QueueSettings, RunSettings, Settings, StoreSettings, TargetsSettings, duration};

use super::name_pattern::NamePattern;

/// Every setting of `polkashots-engine`.
#[derive(Debug, Clone, Args)]
#[expect(missing_docs, reason = "a doc comment on a flattened part would become its heading's text")]
pub struct EngineSettings {
    #[command(flatten)]
    pub targets: TargetsSettings,
    #[command(flatten)]
    pub store: StoreSettings,
    #[command(flatten)]
    pub queue: QueueSettings,
    #[command(flatten)]
    pub kubernetes: VolumeSettings,
    #[command(flatten)]
    pub run: RunSettings,
    /// A run without an end counts as dead, and an unfinished upload as abandoned, at this age; longer than any run
    #[arg(long, env = "POLKASHOTS_SWEEP_MIN_AGE", value_name = "TIME", default_value = "26h", value_parser = duration)]
    pub sweep_min_age: Duration,
}

/// Where nodes run in Kubernetes and how their volumes are snapshotted.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct VolumeSettings {
    /// The namespace of a target's node, volume snapshots and restore claim; {target} stands for the target's id
    #[arg(long, env = "POLKASHOTS_NAMESPACE", value_name = "NAME", default_value = "{target}")]
    pub namespace: NamePattern,
    /// The claim of the node's volume; {target} stands for the target's id
    #[arg(long, env = "POLKASHOTS_SOURCE_CLAIM", value_name = "NAME", default_value = "chain-data-node-0")]
    pub source_claim: NamePattern,
    /// The VolumeSnapshotClass [default: the default one of the volume's driver]
    #[arg(long, env = "POLKASHOTS_SNAPSHOT_CLASS", value_name = "CLASS", value_parser = NonEmptyStringValueParser::new())]
    pub snapshot_class: Option<String>,
    /// The StorageClass of restore claims [default: that of the node's claim]
    #[arg(long, env = "POLKASHOTS_STORAGE_CLASS", value_name = "CLASS", value_parser = NonEmptyStringValueParser::new())]
    pub storage_class: Option<String>,
    /// How long a volume snapshot may take to become ready
    #[arg(long, env = "POLKASHOTS_READY_DEADLINE", value_name = "TIME", default_value = "2h", value_parser = duration)]
    pub ready_deadline: Duration,
}

impl Settings for EngineSettings {
    const NAME: &'static str = "polkashots-engine";
    const ABOUT: &'static str =
        "Takes the volume snapshot that a tick asks for, holds the restore claim, and tears both down";
}
