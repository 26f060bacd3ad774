//! Every port call of every handler fails in four ways, at every position; then its message is delivered again.
//!
//! The real handlers and the real worker loop run on the in-memory adapters, which pass the same contract suites as the
//! real ones. The invariants of ARCHITECTURE.md are checked after every change of the bucket and after every life.

mod invariants;
mod world;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use polkashots_shared::target::Format;
use polkashots_shared::testkit::skip::report;
use polkashots_shared::testkit::{Fault, FaultPlan};

use crate::world::World;

/// The formats besides `tar.zst` that need no node.
const OTHERS: [Format; 2] = [Format::TarLz4, Format::Tree];

#[tokio::test]
async fn every_fault_at_every_port_call_heals() -> Result<()> {
    let calls = calls_of_a_run(&[]).await?;
    ensure!(calls.len() > 40, "a run makes only {} port calls: is everything decorated?", calls.len());
    let mut cases = 0;
    for (position, call) in calls.iter().enumerate() {
        for fault in Fault::ALL {
            let plan = FaultPlan::at(position, fault);
            heals(&plan, &[]).await.with_context(|| format!("case {cases}: call {position}, {call} x {fault}"))?;
            cases += 1;
        }
    }
    report(&format!("every_fault: {} port calls x {} faults = {cases} cases held", calls.len(), Fault::ALL.len()));
    Ok(())
}

#[tokio::test]
async fn many_faults_in_one_run_heal() -> Result<()> {
    let first_seed = std::env::var("POLKASHOTS_SEED").ok().map(|seed| seed.parse()).transpose()?.unwrap_or(1);
    for seed in first_seed..first_seed + 100 {
        let plan = FaultPlan::random(seed, 12);
        let world = World::new(&plan, 1000, &[]).await?;
        world.tick().await?;
        world.live_until_idle(60).await.with_context(|| format!("POLKASHOTS_SEED={seed}: {plan}"))?;
        plan.disarm();
        let settled = settle(&world).await;
        settled.with_context(|| format!("POLKASHOTS_SEED={seed}: {plan}"))?;
    }
    report("every_fault: 100 runs with a fault at one call in eight held");
    Ok(())
}

/// The calls that every target makes are covered above: here are those that the other formats add.
#[tokio::test]
async fn every_fault_at_every_call_of_the_other_formats_heals() -> Result<()> {
    let usual: BTreeSet<String> = calls_of_a_run(&[]).await?.into_iter().collect();
    let calls = calls_of_a_run(&OTHERS).await?;
    let added: Vec<_> = calls.iter().enumerate().filter(|(_, call)| !usual.contains(*call)).collect();
    ensure!(added.len() > 10, "the other formats add only {added:?}");
    for (position, call) in &added {
        for fault in Fault::ALL {
            let plan = FaultPlan::at(*position, fault);
            heals(&plan, &OTHERS).await.with_context(|| format!("call {position}, {call} x {fault}"))?;
        }
    }
    let cases = added.len() * Fault::ALL.len();
    report(&format!("every_fault: {} port calls of tar.lz4 and tree, {cases} cases held", added.len()));
    Ok(())
}

/// Runs once without a fault, and learns which calls there are.
async fn calls_of_a_run(formats: &[Format]) -> Result<Vec<String>> {
    let plan = FaultPlan::none();
    let world = World::new(&plan, 5, formats).await?;
    world.tick().await?;
    world.live_until_idle(1).await.context("a run without a fault")?;
    let calls = plan.calls();
    settle(&world).await.context("a run without a fault")?;
    Ok(calls)
}

async fn heals(plan: &FaultPlan, formats: &[Format]) -> Result<()> {
    let world = World::new(plan, 5, formats).await?;
    world.tick().await?;
    world.live_until_idle(12).await?;
    settle(&world).await
}

/// A day later the next tick comes; then everything must be as if nothing had happened.
async fn settle(world: &World) -> Result<()> {
    world.check_published(1).await?;
    world.advance_past_sweep();
    world.tick().await?;
    world.live_until_idle(1).await.context("the next day's tick")?;
    world.check_published(2).await?;
    world.check_nothing_leaked().await?;
    world.check_redelivery_changes_nothing().await
}

/// Fails each port call of a run in turn, for good, and compares who wrote to which topic with what the binaries declare.
#[tokio::test]
async fn every_worker_emits_exactly_what_it_declares() -> Result<()> {
    let mut emitted = BTreeSet::new();
    for position in 0..calls_of_a_run(&[]).await?.len() {
        let plan = FaultPlan::at(position, Fault::ErrorBefore);
        // The first failure is the last: its message is given up.
        let world = World::new(&plan, 1, &[]).await?;
        world.tick().await?;
        world.live_until_idle(12).await.with_context(|| format!("call {position}"))?;
        emitted.extend(world.emitted()?);
    }
    let world = World::new(&FaultPlan::none(), 1, &[]).await?;
    world.tell_of_no_upload().await?;
    world.live_until_idle(12).await.context("an upload that is none")?;
    emitted.extend(world.emitted()?);
    let declared = [
        ("engine", &polkashots_engine::binary::EMITS[..]),
        ("snapshotter", &polkashots_snapshotter::binary::EMITS[..]),
        ("publisher", &polkashots_publisher::binary::EMITS[..]),
    ];
    let pairs = declared.iter().flat_map(|(worker, topics)| topics.iter().map(|topic| (*worker, topic.as_str())));
    let declared: BTreeSet<_> = pairs.map(|(worker, topic)| format!("{worker} writes to {topic}")).collect();
    ensure!(emitted == declared, "emitted {emitted:?}, declared {declared:?}");
    Ok(())
}
