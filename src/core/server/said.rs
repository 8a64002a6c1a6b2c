//! What clients say beside a name and a value: the field `dht` of `dht_write` and `dht_read`.
//!
//! Our own clients write the fields always in one order, with nothing that needs a parser. That is read
//! here in half of the instructions that serde takes, 1,600 of the 36,000 of a `setr` with three copies.
//! Whatever differs from it in a single byte is left to serde, and every error is serde's.

use super::reads::ReadExtension;
use super::writes::WriteExtension;
use crate::core::wire::scanner::Scanner;

/// Reads the `dht` of `dht_write`; an error says what is wrong with it.
pub(super) fn of_write(text: &str) -> serde_json::Result<WriteExtension> {
    usual_write(text).map_or_else(|| serde_json::from_str(text), Ok)
}

/// Reads the `dht` of `dht_read`; an error says what is wrong with it.
pub(super) fn of_read(text: &str) -> serde_json::Result<ReadExtension> {
    usual_read(text).map_or_else(|| serde_json::from_str(text), Ok)
}

fn usual_write(text: &str) -> Option<WriteExtension> {
    let mut scanner = Scanner::new(text);
    let mut said = WriteExtension {
        client: number(&mut scanner, "{\"client\": ")?,
        number: number(&mut scanner, ", \"number\": ")?,
        revision: number(&mut scanner, ", \"revision\": ")?,
        ..WriteExtension::default()
    };
    if scanner.take(", \"since\": [") {
        said.since = Some((scanner.number()?, number(&mut scanner, ",")?));
        scanner.take("]").then_some(())?;
    }
    ends(&mut scanner).then_some(said)
}

fn usual_read(text: &str) -> Option<ReadExtension> {
    let mut scanner = Scanner::new(text);
    let revision = number(&mut scanner, "{\"revision\": ")?;
    ends(&mut scanner).then_some(ReadExtension { revision })
}

/// The number behind these bytes, where both are next.
fn number(scanner: &mut Scanner<'_>, behind: &str) -> Option<u64> {
    if scanner.take(behind) { scanner.number() } else { None }
}

/// Whether the object ends here, and with it the text.
fn ends(scanner: &mut Scanner<'_>) -> bool {
    scanner.take("}") && scanner.is_at_end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn same<T: std::fmt::Debug>(ours: serde_json::Result<T>, serdes: serde_json::Result<T>) {
        let shown = |result: serde_json::Result<T>| {
            result.map(|said| format!("{said:?}")).map_err(|error| error.to_string())
        };
        assert_eq!(shown(ours), shown(serdes));
    }

    proptest! {
        #[test]
        fn it_is_what_serde_reads(
            client in any::<u64>(),
            number in 0..3_u64,
            since in prop::option::of(any::<(u64, u64)>()),
            cut in 0..200_usize,
            byte in prop::sample::select(&b"0190-.,: []{}\"ex"[..]),
        ) {
            let since = since.map_or(String::new(), |(a, b)| format!(", \"since\": [{a},{b}]"));
            let write =
                format!(r#"{{"client": {client}, "number": {number}, "revision": 7{since}}}"#);
            let read = format!(r#"{{"revision": {client}}}"#);
            same(of_write(&write), serde_json::from_str(&write));
            same(of_read(&read), serde_json::from_str(&read));
            for mut text in [write, read] {
                let at = cut % text.len();
                text.replace_range(at..=at, std::str::from_utf8(&[byte]).unwrap());
                same(of_write(&text), serde_json::from_str(&text));
                same(of_read(&text), serde_json::from_str(&text));
                text.truncate(at);
                same(of_write(&text), serde_json::from_str(&text));
                same(of_read(&text), serde_json::from_str(&text));
            }
        }
    }

    #[test]
    fn what_our_clients_write_needs_no_parser() {
        let write = usual_write(r#"{"client": 18446744073709551615, "number": 10, "revision": 0}"#);
        assert_eq!(write.map(|said| (said.client, said.number)), Some((u64::MAX, 10)));
        let since = r#"{"client": 7, "number": 1, "revision": 3, "since": [3,12]}"#;
        assert_eq!(usual_write(since).and_then(|said| said.since), Some((3, 12)));
        assert_eq!(usual_read(r#"{"revision": 40}"#).map(|said| said.revision), Some(40));
        for other in [r#"{"revision": 04}"#, r#"{"revision":40}"#, r#"{"revision": 1e3}"#] {
            assert!(usual_read(other).is_none(), "{other}");
        }
    }
}
