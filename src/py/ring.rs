//! `Ring`: placement and what a change moves, for Python.

use std::borrow::Cow;
use std::collections::BTreeSet;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::hash::{bytes_of, hash_key};
use crate::core::hash::{SLOT_COUNT, Slot, slot_of};
use crate::core::moves;
use crate::core::ring;

/// A source, and who gets copies of it.
type Copy = (Option<String>, String);

/// The servers of a ring, each with its position; never changes.
#[pyclass(frozen, module = "dht._dht")]
#[derive(Debug)]
pub(super) struct Ring(ring::Ring<String>);

#[pymethods]
impl Ring {
    /// Takes pairs of address and position.
    #[new]
    #[pyo3(signature = (servers))]
    fn new(servers: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut seen = BTreeSet::new();
        let mut pairs = Vec::new();
        for item in servers.try_iter()? {
            let (address, position) = pair(&item?)?;
            if !seen.insert(address.clone()) {
                return Err(PyValueError::new_err(format!("{address} is listed twice")));
            }
            pairs.push((address, position));
        }
        Ok(Ring(ring::Ring::new(pairs)))
    }

    /// The servers with their positions, in ring order.
    #[pyo3(signature = ())]
    fn servers(&self) -> Vec<(String, Slot)> {
        self.0.servers().map(|(address, position)| (address.clone(), position)).collect()
    }

    /// The holders of a name, primary first.
    #[pyo3(signature = (name))]
    fn replicas(&self, name: &Bound<'_, PyString>) -> PyResult<Vec<String>> {
        Ok(self.0.replicas(hash_key(name)?))
    }

    /// The holders of a slot, primary first.
    #[pyo3(signature = (slot))]
    fn replicas_at(&self, slot: i64) -> PyResult<Vec<String>> {
        Ok(self.0.replicas(checked_slot(slot)?))
    }

    /// The holders of each name, primary first.
    #[pyo3(signature = (names))]
    fn replicas_many<'py>(
        &self,
        py: Python<'py>,
        names: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let names = texts(names)?;
        let names = names.iter().map(bytes_of).collect::<PyResult<Vec<_>>>()?;
        let placed: Vec<Vec<usize>> = py.detach(|| {
            // Servers by their place in the ring: equal positions keep their order.
            let places = self.0.servers().enumerate().map(|(place, (_, at))| (place, at));
            let ring = ring::Ring::new(places);
            names.iter().map(|name| ring.replicas(slot_of(name))).collect()
        });
        let addresses: Vec<_> =
            self.0.servers().map(|(address, _)| PyString::new(py, address)).collect();
        let lists = placed
            .iter()
            .map(|places| PyList::new(py, places.iter().map(|place| &addresses[*place])));
        PyList::new(py, lists.collect::<PyResult<Vec<_>>>()?)
    }

    /// The ranges of slots that a server holds, or leads; `end` is excluded.
    #[pyo3(signature = (address, primary))]
    fn slots(&self, address: &str, primary: bool) -> Vec<(Slot, Slot)> {
        let holds = |replicas: &[String]| {
            let count = if primary { 1 } else { replicas.len() };
            replicas.iter().take(count).any(|holder| holder == address)
        };
        moves::ranges(&self.0, holds).into_iter().map(|range| (range.start, range.end)).collect()
    }

    /// For each name, by its place in `names`, the copies that a change to `other` makes.
    #[pyo3(signature = (other, names))]
    fn copies(
        &self,
        py: Python<'_>,
        other: &Ring,
        names: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<(usize, Option<String>, String)>> {
        let names = texts(names)?;
        let names = names.iter().map(bytes_of).collect::<PyResult<Vec<_>>>()?;
        Ok(py.detach(|| {
            let none = BTreeSet::new();
            let of = |(place, name): (usize, &Cow<'_, [u8]>)| {
                let copies: Vec<Copy> = moves::copies(&self.0, &other.0, slot_of(name), &none);
                copies.into_iter().map(move |(source, target)| (place, source, target))
            };
            names.iter().enumerate().flat_map(of).collect()
        }))
    }

    /// The copies that a change to `other` makes, as ranges of slots; servers in `lost` give none.
    #[pyo3(signature = (other, lost))]
    fn transfers(
        &self,
        other: &Ring,
        lost: Vec<String>,
    ) -> Vec<(Slot, Slot, Option<String>, String)> {
        let transfers = moves::transfers(&self.0, &other.0, &lost.into_iter().collect());
        transfers.into_iter().map(|each| (each.start, each.end, each.source, each.target)).collect()
    }
}

/// The names of any iterable; a single `str` is taken for a mistake.
fn texts<'py>(names: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyString>>> {
    if names.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("names are a list of str, not one str"));
    }
    names.try_iter()?.map(|name| Ok(name?.cast_into::<PyString>()?)).collect()
}

/// An address and its position, of any sequence of the two.
fn pair(item: &Bound<'_, PyAny>) -> PyResult<(String, Slot)> {
    let parts: Option<Vec<Bound<'_, PyAny>>> = item.extract().ok();
    let read = parts.and_then(|parts| match &parts[..] {
        [address, position] => Some((address.extract().ok()?, position.extract().ok()?)),
        _ => None,
    });
    let Some((address, position)) = read else {
        let why = format!("a server is a pair (address, position), not {}", item.repr()?);
        return Err(PyTypeError::new_err(why));
    };
    Ok((address, checked_slot(position)?))
}

fn checked_slot(slot: i64) -> PyResult<Slot> {
    match Slot::try_from(slot) {
        Ok(slot) if slot < SLOT_COUNT => Ok(slot),
        _ => Err(PyValueError::new_err(format!("{slot} is not from 0 to {}", SLOT_COUNT - 1))),
    }
}
