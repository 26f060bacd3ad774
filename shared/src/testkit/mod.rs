//! Contract suites, in-memory adapters and the fault plan, for tests only.
