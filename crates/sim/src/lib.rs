//! The simulated world: faults, invariants, planted bugs, and the seed runner.
