//! What `roost` and `roostd` say to each other.
