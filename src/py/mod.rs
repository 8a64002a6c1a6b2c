//! The native module `dht._dht`: takes arguments out of Python, lets go of the interpreter, calls,
//! and wraps the result. Nothing else is decided here.

mod client;
mod data;
mod engine;
mod errors;
mod exit;
mod fork;
mod hash;
mod heap;
mod history;
mod json;
mod listener;
mod node;
mod notes;
mod pipeline;
mod results;
mod ring;
mod seat;
mod sim;

/// The Rust half of the package `dht`.
#[pyo3::pymodule]
mod _dht {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::client::Client;
    #[pymodule_export]
    use super::data::check_data;
    #[pymodule_export]
    use super::data::export_data;
    #[pymodule_export]
    use super::data::read_pair;
    #[pymodule_export]
    use super::exit::end_calls;
    #[pymodule_export]
    use super::exit::end_waits;
    #[pymodule_export]
    use super::exit::stay_at_end;
    #[pymodule_export]
    use super::hash::hash_key;
    #[pymodule_export]
    use super::heap::use_large_pages;
    #[pymodule_export]
    use super::history::judge_history;
    #[pymodule_export]
    use super::json::read_json;
    #[pymodule_export]
    use super::listener::Listener;
    #[pymodule_export]
    use super::node::Node;
    #[pymodule_export]
    use super::pipeline::Pipeline;
    #[pymodule_export]
    use super::ring::Ring;
    #[pymodule_export]
    use super::seat::BrokenRule;
    #[pymodule_export]
    use super::sim::SimCluster;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::errors::export(module)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("build_profile", if cfg!(debug_assertions) { "debug" } else { "release" })
    }
}
