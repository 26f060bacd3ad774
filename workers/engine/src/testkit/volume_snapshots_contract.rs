//! The contract of [`VolumeSnapshots`], held by every adapter.

use std::sync::Arc;
use std::time::Duration;

use polkashots_shared::ids::{TargetId, Version};
use polkashots_shared::names;

use crate::{Acquire, Held, HeldKind, Ready, VolumeSnapshotError, VolumeSnapshots};

/// The longest wait for a transient error to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the suite on an adapter that holds nothing and can take volume snapshots of `target` and `other`; panics where
/// it breaks the contract, and leaves nothing held.
pub async fn run(volumes: Arc<dyn VolumeSnapshots>, target: &TargetId, other: &TargetId) {
    let suite = Suite { volumes, target, other, first: version("20261122-040000"), second: version("20261122-100000") };
    suite.releasing_nothing_is_fine().await;
    suite.only_the_first_of_many_gets_the_claim().await;
    suite.a_snapshot_needs_the_claim().await;
    suite.a_snapshot_is_taken_once().await;
    suite.targets_do_not_meet().await;
    suite.release_is_of_one_version_only().await;
    suite.a_released_version_can_be_taken_again().await;
}

fn version(text: &str) -> Version {
    text.parse().expect("a legal version")
}

struct Suite<'a> {
    volumes: Arc<dyn VolumeSnapshots>,
    target: &'a TargetId,
    other: &'a TargetId,
    first: Version,
    second: Version,
}

impl Suite<'_> {
    async fn acquire(&self, target: &TargetId, version: Version) -> Acquire {
        self.volumes.acquire(target, version).await.expect("acquire succeeds")
    }

    /// A transient error may pass: a lock lives on in a child that another test is just starting.
    async fn ensure(&self, target: &TargetId, version: Version) -> Ready {
        let ensured = async {
            loop {
                match self.volumes.ensure_snapshot(target, version).await {
                    Err(error) if error.is_transient() => tokio::task::yield_now().await,
                    result => return result.expect("a snapshot"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, ensured).await.expect("a transient error passes")
    }

    async fn release(&self, target: &TargetId, version: Version) {
        self.volumes.release(target, version).await.expect("release succeeds");
    }

    async fn held(&self) -> Vec<(TargetId, Version, HeldKind)> {
        let held = self.volumes.held().await.expect("held succeeds");
        held.into_iter().map(|Held { target, version, kind, .. }| (target, version, kind)).collect()
    }

    async fn releasing_nothing_is_fine(&self) {
        self.release(self.target, self.first).await;
        self.release(&"was-never-configured".parse().expect("legal"), self.first).await;
        assert_eq!(self.held().await, [], "nothing is held at the start");
    }

    async fn only_the_first_of_many_gets_the_claim(&self) {
        let racers = [self.first, self.second].map(|version| {
            let (volumes, target) = (self.volumes.clone(), self.target.clone());
            tokio::spawn(async move {
                loop {
                    match volumes.acquire(&target, version).await {
                        Err(error) if error.is_transient() => tokio::task::yield_now().await,
                        result => return result.expect("a race is not an error"),
                    }
                }
            })
        });
        let mut winners = Vec::new();
        for (racer, version) in racers.into_iter().zip([self.first, self.second]) {
            match racer.await.expect("no panic") {
                Acquire::Acquired => winners.push(version),
                Acquire::Busy { held_by } => assert_ne!(held_by, version, "busy with itself"),
            }
        }
        let [winner] = winners[..] else { panic!("{} racers got the claim", winners.len()) };
        let loser = if winner == self.first { self.second } else { self.first };
        assert_eq!(self.acquire(self.target, winner).await, Acquire::Acquired, "acquire repeats");
        assert_eq!(self.acquire(self.target, loser).await, Acquire::Busy { held_by: winner });
        assert_eq!(self.held().await, [(self.target.clone(), winner, HeldKind::Claim)]);
        self.release(self.target, winner).await;
        assert_eq!(self.held().await, []);
    }

    async fn a_snapshot_needs_the_claim(&self) {
        let refused = self.volumes.ensure_snapshot(self.target, self.first).await;
        assert!(
            refused.is_err_and(|error| matches!(error, VolumeSnapshotError::Transient { .. })),
            "without the claim"
        );
        assert_eq!(self.held().await, []);
    }

    async fn a_snapshot_is_taken_once(&self) {
        self.acquire(self.target, self.first).await;
        let ready = self.ensure(self.target, self.first).await;
        assert_eq!(ready.name, names::volume_snapshot_name(self.target, self.first));
        assert_eq!(ready.claim, names::claim_name(self.target));
        let again = self.ensure(self.target, self.first).await;
        assert_eq!(again, ready, "a second call changes nothing");
        let kinds = [HeldKind::Claim, HeldKind::VolumeSnapshot];
        assert_eq!(self.held().await, kinds.map(|kind| (self.target.clone(), self.first, kind)));
    }

    async fn targets_do_not_meet(&self) {
        assert_eq!(self.acquire(self.other, self.second).await, Acquire::Acquired);
        self.ensure(self.other, self.second).await;
        assert_eq!(self.held().await.len(), 4);
        self.release(self.other, self.second).await;
        assert_eq!(self.held().await.len(), 2);
    }

    async fn release_is_of_one_version_only(&self) {
        self.release(self.target, self.second).await;
        assert_eq!(self.held().await.len(), 2, "another version's release took something");
        assert_eq!(self.acquire(self.target, self.second).await, Acquire::Busy { held_by: self.first });
        self.release(self.target, self.first).await;
        self.release(self.target, self.first).await;
        assert_eq!(self.held().await, []);
    }

    async fn a_released_version_can_be_taken_again(&self) {
        for version in [self.second, self.first] {
            assert_eq!(self.acquire(self.target, version).await, Acquire::Acquired);
            self.ensure(self.target, version).await;
            self.release(self.target, version).await;
            assert_eq!(self.held().await, []);
        }
    }
}
