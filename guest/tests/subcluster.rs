//! The sub-cluster's decisions, rule by rule, and then all of them at once on a walk at random.

#[path = "subcluster/failure.rs"]
mod failure;
#[path = "subcluster/freeze.rs"]
mod freeze;
#[path = "subcluster/host.rs"]
mod host;
#[path = "subcluster/managed.rs"]
mod managed;
#[path = "subcluster/order.rs"]
mod order;
#[path = "subcluster/probe.rs"]
mod probe;
#[path = "subcluster/reload.rs"]
mod reload;
#[path = "subcluster/shutdown.rs"]
mod shutdown;
#[path = "subcluster/start.rs"]
mod start;
#[path = "subcluster/time.rs"]
mod time;
#[path = "subcluster/walk.rs"]
mod walk;
#[path = "subcluster/world.rs"]
mod world;
