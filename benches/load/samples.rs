//! How long operations took.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant, SystemTime};

/// Buckets of one octave; the error of a percentile is below 2 %.
const PER_OCTAVE: u64 = 64;

/// How many operations took how long, and each single one where that is wanted.
#[derive(Debug)]
pub(crate) struct Samples {
    buckets: Vec<u64>,
    count: u64,
    longest: Duration,
    single: Option<Vec<Single>>,
    origin: (Instant, SystemTime),
}

/// One operation.
#[derive(Debug)]
struct Single {
    ended: Instant,
    took: Duration,
    slot: u16,
}

impl Samples {
    pub(crate) fn new(single: bool) -> Self {
        Samples {
            buckets: vec![0; (64 * PER_OCTAVE) as usize],
            count: 0,
            longest: Duration::ZERO,
            single: single.then(Vec::new),
            origin: (Instant::now(), SystemTime::now()),
        }
    }

    /// Whether each operation is kept.
    pub(crate) fn keeps(&self) -> bool {
        self.single.is_some()
    }

    pub(crate) fn add(&mut self, began: Instant, ended: Instant, slot: u16) {
        let took = ended - began;
        self.buckets[bucket(took.as_nanos() as u64)] += 1;
        self.count += 1;
        self.longest = self.longest.max(took);
        if let Some(single) = &mut self.single {
            single.push(Single { ended, took, slot });
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn longest_us(&self) -> f64 {
        self.longest.as_nanos() as f64 / 1000.0
    }

    /// The time that this part of the operations took at most, in microseconds.
    pub(crate) fn percentile_us(&self, part: f64) -> f64 {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return upper_ns(index as u64) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// Writes each operation: when it ended in seconds since 1970 (f64), how long it took in µs
    /// (u32), its slot (u16) and 1 where `moved` says so of it (u16), little-endian.
    pub(crate) fn write(&self, path: &str, moved: impl Fn(u16) -> bool) -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let (instant, time) = self.origin;
        let origin = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for single in self.single.iter().flatten() {
            let at = (origin + single.ended.duration_since(instant)).as_secs_f64();
            file.write_all(&at.to_le_bytes())?;
            file.write_all(&(single.took.as_micros() as u32).to_le_bytes())?;
            file.write_all(&single.slot.to_le_bytes())?;
            file.write_all(&u16::from(moved(single.slot)).to_le_bytes())?;
        }
        file.flush()
    }
}

fn bucket(ns: u64) -> usize {
    if ns < PER_OCTAVE {
        return ns as usize;
    }
    let octave = u64::from(ns.ilog2()) - u64::from(PER_OCTAVE.ilog2());
    (octave * PER_OCTAVE + (ns >> octave)) as usize
}

fn upper_ns(bucket: u64) -> u64 {
    if bucket < 2 * PER_OCTAVE {
        return bucket;
    }
    let octave = bucket / PER_OCTAVE - 1;
    (bucket - octave * PER_OCTAVE + 1) << octave
}
