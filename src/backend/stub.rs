//! Checkpoint 0: the whole contract and no model.
