//! The fault plan: counts the calls on ports and makes chosen ones fail in one of four ways.
//!
//! A test runs once with [`FaultPlan::none`] to learn how many calls there are, then once for every position and every
//! [`Fault`]. A crash is a call that never returns: the driver waits for [`FaultPlan::crashed`] beside the life and
//! drops the life when it comes. Nothing that the dead life left running gets a call through any more.
//!
//! ```ignore
//! tokio::select! {
//!     biased;
//!     () = plan.crashed() => plan.revive(),
//!     result = life => break result,
//! }
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::ports::chain_database::ChainDatabaseError;
use crate::ports::object_store::StoreError;
use crate::ports::queue::QueueError;

/// A way in which a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A transient error; the call had no effect.
    ErrorBefore,
    /// A transient error; the call took effect all the same.
    ErrorAfter,
    /// The process dies before the call has an effect.
    CrashBefore,
    /// The process dies after the call took effect.
    CrashAfter,
}

impl Fault {
    /// All four.
    pub const ALL: [Self; 4] = [Self::ErrorBefore, Self::ErrorAfter, Self::CrashBefore, Self::CrashAfter];

    /// True where the process dies.
    pub fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// An error type of which a fault can be made.
pub trait Injected: Sized {
    /// The transient error that `call` is made to return.
    fn injected(call: &str) -> Self;
}

/// Decides which calls fail; clones share the count.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    down: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    choice: Choice,
    calls: Vec<String>,
    fired: Vec<String>,
}

#[derive(Debug)]
enum Choice {
    Positions(BTreeMap<usize, Fault>),
    Random { random: fastrand::Rng, percent: u8 },
}

impl FaultPlan {
    /// No call fails; the calls are counted and named.
    pub fn none() -> Self {
        Self::of([])
    }

    /// The call at `position`, from 0 and over all lives, fails.
    pub fn at(position: usize, fault: Fault) -> Self {
        Self::of([(position, fault)])
    }

    /// Each of the calls at these positions fails.
    pub fn of(faults: impl IntoIterator<Item = (usize, Fault)>) -> Self {
        Self::new(Choice::Positions(faults.into_iter().collect()))
    }

    /// Each call fails with a probability of `percent`, in a way drawn at random; the same `seed` draws the same.
    pub fn random(seed: u64, percent: u8) -> Self {
        Self::new(Choice::Random { random: fastrand::Rng::with_seed(seed), percent })
    }

    fn new(choice: Choice) -> Self {
        let state = Mutex::new(State { choice, calls: Vec::new(), fired: Vec::new() });
        Self { shared: Arc::new(Shared { state, down: watch::Sender::new(false) }) }
    }

    /// Makes one call through the plan.
    pub async fn around<T, E, F>(&self, name: impl Into<String>, call: impl FnOnce() -> F) -> Result<T, E>
    where
        E: Injected,
        F: Future<Output = Result<T, E>>,
    {
        if *self.shared.down.borrow() {
            return std::future::pending().await;
        }
        let name = name.into();
        let fault = self.lock().draw(&name);
        match fault {
            None => call().await,
            Some(Fault::ErrorBefore) => Err(E::injected(&name)),
            Some(Fault::ErrorAfter) => {
                drop(call().await?);
                Err(E::injected(&name))
            }
            Some(Fault::CrashBefore) => self.crash().await,
            Some(Fault::CrashAfter) => {
                let _result = call().await;
                self.crash().await
            }
        }
    }

    /// Returns when the present life has crashed; at once if it has already.
    pub async fn crashed(&self) {
        let mut down = self.shared.down.subscribe();
        if down.wait_for(|down| *down).await.is_err() {
            std::future::pending().await
        }
    }

    /// Lets the next life make calls.
    pub fn revive(&self) {
        self.shared.down.send_replace(false);
    }

    /// Stops faults from here on, for the life that must come to the end.
    pub fn disarm(&self) {
        self.lock().choice = Choice::Positions(BTreeMap::new());
    }

    /// The names of all calls so far, in order.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// What failed so far and how, as in `object_store.put index.json x CrashAfter`.
    pub fn fired(&self) -> Vec<String> {
        self.lock().fired.clone()
    }

    async fn crash<T>(&self) -> T {
        self.shared.down.send_replace(true);
        std::future::pending().await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for FaultPlan {
    /// What failed so far, for the message of a failing case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fired = self.fired();
        if fired.is_empty() { f.write_str("no fault") } else { f.write_str(&fired.join(", ")) }
    }
}

impl State {
    fn draw(&mut self, name: &str) -> Option<Fault> {
        let position = self.calls.len();
        self.calls.push(name.to_owned());
        let fault = match &mut self.choice {
            Choice::Positions(faults) => faults.remove(&position)?,
            Choice::Random { random, percent } => {
                let hit = random.u8(..100) < *percent;
                hit.then(|| Fault::ALL[random.usize(..Fault::ALL.len())])?
            }
        };
        self.fired.push(format!("call {position}: {name} x {fault}"));
        Some(fault)
    }
}

/// A port whose calls go through a [`FaultPlan`]; see [`super::faulty_ports`] for the ports of this crate.
#[derive(Debug)]
pub struct Faulty<T: ?Sized> {
    /// The port itself.
    pub inner: Arc<T>,
    /// The plan that every call goes through.
    pub plan: FaultPlan,
}

impl<T: ?Sized> Faulty<T> {
    /// Puts `plan` before `inner`.
    pub fn new(inner: Arc<T>, plan: &FaultPlan) -> Self {
        Self { inner, plan: plan.clone() }
    }
}

impl<T: ?Sized> Clone for Faulty<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), plan: self.plan.clone() }
    }
}

impl Injected for StoreError {
    fn injected(call: &str) -> Self {
        Self::Transient { operation: "injected fault at", key: call.into(), source: "planned by the test".into() }
    }
}

impl Injected for QueueError {
    fn injected(call: &str) -> Self {
        Self::Transient { queue: call.into(), source: "fault planned by the test".into() }
    }
}

impl Injected for ChainDatabaseError {
    fn injected(call: &str) -> Self {
        Self::io(call.as_ref(), "fault planned by the test")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn call(plan: &FaultPlan, effects: &AtomicUsize) -> Result<(), QueueError> {
        plan.around("queue.ack a", || async {
            effects.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .await
    }

    #[tokio::test]
    async fn errors_come_before_or_after_the_effect() {
        for (fault, expected) in [(Fault::ErrorBefore, 1), (Fault::ErrorAfter, 2)] {
            let (plan, effects) = (FaultPlan::at(1, fault), AtomicUsize::new(0));
            assert!(call(&plan, &effects).await.is_ok());
            assert!(call(&plan, &effects).await.is_err_and(|error| error.is_transient()));
            assert_eq!(effects.load(Ordering::Relaxed), expected);
            assert!(call(&plan, &effects).await.is_ok());
            assert_eq!(plan.to_string(), format!("call 1: queue.ack a x {fault}"));
        }
    }

    #[tokio::test]
    async fn a_crashed_life_makes_no_further_call() {
        for (fault, expected) in [(Fault::CrashBefore, 0), (Fault::CrashAfter, 1)] {
            assert!(fault.is_crash());
            let (plan, effects) = (FaultPlan::at(0, fault), AtomicUsize::new(0));
            tokio::select! {
                biased;
                () = plan.crashed() => {}
                _ = call(&plan, &effects) => panic!("a crashed call returned"),
            }
            assert!(futures::FutureExt::now_or_never(call(&plan, &effects)).is_none());
            assert_eq!(effects.load(Ordering::Relaxed), expected);
            plan.revive();
            assert!(call(&plan, &effects).await.is_ok());
        }
    }

    #[tokio::test]
    async fn the_same_seed_draws_the_same_faults() {
        let mut logs = Vec::new();
        for _ in 0..2 {
            let plan = FaultPlan::random(7, 30);
            for _ in 0..50 {
                let _ = futures::FutureExt::now_or_never(call(&plan, &AtomicUsize::new(0)));
                plan.revive();
            }
            logs.push(plan.fired());
        }
        assert_eq!(logs[0], logs[1]);
        assert!(!logs[0].is_empty());
    }
}
