"""The world in virtual time: worlds, faults, invariants, and the load that benches need."""
