//! afresh.hcl to model, with the place of every error; and its formatter.
