//! The wire: frames, JSON as Python has it, names with lone surrogates, and requests. Whatever
//! bytes come in, nothing panics.

#[path = "common/data.rs"]
mod data;

use data::{read_data, unescape};
use dht::core::wire::frame::{FrameError, HEADER_BYTES, append, decode, encode};
use dht::core::wire::json::{JSON_DEPTH_MAX, Json, JsonError, Object};
use dht::core::wire::request::Request;
use dht::core::wire::text::Text;
use proptest::collection::vec;
use proptest::prelude::*;

/// Reads frames as a connection does: bytes come in pieces, messages go out.
fn messages(pieces: &[&[u8]], frame_bytes_max: usize) -> Result<Vec<Vec<u8>>, FrameError> {
    let (mut buffer, mut messages) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(end) = decode(&buffer, frame_bytes_max)? {
            messages.push(buffer[HEADER_BYTES..end].to_vec());
            buffer.drain(..end);
        }
    }
    Ok(messages)
}

#[test]
fn a_frame_may_come_in_two_pieces_split_anywhere() {
    let sent = [b"{}".to_vec(), vec![0; 300], b"{\"cmd\": \"get\"}".to_vec()];
    let stream: Vec<u8> = sent.iter().flat_map(|message| encode(message)).collect();
    for at in 0..=stream.len() {
        let (first, second) = stream.split_at(at);
        assert_eq!(messages(&[first, second], 300).as_deref(), Ok(&sent[..]), "split at {at}");
    }
    let single: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(messages(&single, 300).as_deref(), Ok(&sent[..]));
}

#[test]
fn lengths_that_no_frame_has_are_refused_at_the_header() {
    for length in [0, -1, -2, i32::MIN, i32::MIN + 1] {
        assert_eq!(decode(&length.to_be_bytes(), 100), Err(FrameError::NotPositive(length)));
    }
    for length in [101, 8192, i32::MAX] {
        let refused = FrameError::TooLong { length: length as usize, limit: 100 };
        assert_eq!(decode(&length.to_be_bytes(), 100), Err(refused));
    }
    assert_eq!(decode(&100i32.to_be_bytes(), 100), Ok(None));
    assert_eq!(decode(&1i32.to_be_bytes(), 100), Ok(None));
    let http = i32::from_be_bytes(*b"HTTP") as usize;
    let refused = FrameError::TooLong { length: http, limit: 16 << 20 };
    assert_eq!(decode(b"HTTP/1.1 200 OK", 16 << 20), Err(refused));
}

#[test]
fn json_is_accepted_where_python_accepts_it() {
    let cases = read_data("json_cases.txt");
    assert!(cases.len() > 400);
    for case in cases {
        let [verdict, shown] = &case[..] else { panic!("not verdict, text: {case:?}") };
        let text = unescape(shown);
        let parsed = Json::parse(&text);
        assert_eq!(parsed.is_ok(), verdict == "ok", "{shown}: {parsed:?}");
        let Ok(value) = parsed else { continue };
        let wrapped = [b"{\"v\":".as_slice(), &text, b"}"].concat();
        let listed = [b"[1, ".as_slice(), &text, b", 2]"].concat();
        assert!(Json::parse(&listed).is_ok(), "{shown} in an array");
        assert_eq!(Object::parse(&wrapped).unwrap().json("v"), Some(value.clone()));
        assert!(value.as_str().is_ascii());
        assert_eq!(Json::parse(value.as_str().as_bytes()), Ok(value), "read back");
    }
}

#[test]
fn only_an_object_is_a_message() {
    for text in ["1", "\"a\"", "[]", "[{}]", "null", "NaN"] {
        assert_eq!(Object::parse(text.as_bytes()).unwrap_err(), JsonError::NotObject, "{text}");
    }
    assert_eq!(Object::parse(b"\"\xff\"").unwrap_err(), JsonError::NotUtf8);
    assert_eq!(Json::parse(b"\"\xed\xa0\x80\"").unwrap_err(), JsonError::NotUtf8);
}

#[test]
fn values_keep_their_text() {
    let digits = "1234567890".repeat(4);
    for text in [
        "1.0",
        "1E5",
        "1e400",
        "-0",
        "-0.0",
        "1.10",
        "NaN",
        "-Infinity",
        "\"\\ud800\"",
        "\"\\u0041\"",
        "\"\\/\"",
        "[1 ,2]",
        "{\"a\" : 1}",
        &digits,
    ] {
        assert_eq!(Json::parse(text.as_bytes()).unwrap().as_str(), text);
        let message = format!("{{\"val\":  {text}  }}");
        assert_eq!(Object::parse(message.as_bytes()).unwrap().json("val").unwrap().as_str(), text);
    }
    assert_eq!(Json::parse("\"é😀\"".as_bytes()).unwrap().as_str(), r#""\u00e9\ud83d\ude00""#);
}

#[test]
fn of_two_fields_of_one_name_the_last_counts() {
    let object = Object::parse(br#"{"a": 1, "b": 2, "\u0061": [3, "x"]}"#).unwrap();
    assert_eq!(object.raw("a"), Some(r#"[3, "x"]"#));
    assert_eq!(object.number("b"), Some(2));
    assert_eq!(object.number("a"), None);
    assert_eq!(object.array("a").unwrap().len(), 2);
    assert!(object.array("b").is_none() && object.raw("c").is_none());
}

#[test]
fn nesting_is_bounded_and_costs_no_stack() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(Json::parse(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
    let deep = nested(JSON_DEPTH_MAX + 2);
    assert_eq!(Json::parse(deep.as_bytes()), Err(JsonError::TooDeep));
    for opener in ["[", "{\"a\":", "[{\"a\":["] {
        let endless = opener.repeat(2_000_000);
        assert_eq!(Json::parse(endless.as_bytes()), Err(JsonError::TooDeep));
        assert!(Object::parse(endless.as_bytes()).is_err());
        assert!(Object::parse(format!("{{\"cmd\":{endless}").as_bytes()).is_err());
    }
}

#[test]
fn names_are_written_as_python_writes_them() {
    for case in read_data("strings.txt") {
        let [_, shown, json] = &case[..] else { panic!("not slot, text, json: {case:?}") };
        let raw = unescape(shown);
        let text = Json::parse(json.as_bytes()).unwrap().to_text().unwrap();
        assert_eq!(text.as_bytes(), raw, "{shown}");
        assert_eq!(text.to_json(), *json, "{shown}");
        assert_eq!(text.as_str(), std::str::from_utf8(&raw).ok());
        assert_eq!(Json::string(&text).as_str(), json);
        if let Some(plain) = text.as_str() {
            let unescaped = format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""));
            let read = Json::parse(unescaped.as_bytes());
            let control = plain.chars().any(|char| char < ' ');
            assert_eq!(
                read.ok().map(|json| json.to_text() == Some(text)),
                (!control).then_some(true)
            );
        }
    }
}

#[test]
fn a_scalar_is_hashed_as_pythons_str() {
    let scalars = [
        ("0.25", "0.25"),
        ("1.0", "1.0"),
        ("7", "7"),
        ("\"x\"", "x"),
        ("true", "True"),
        ("false", "False"),
        ("null", "None"),
        ("NaN", "nan"),
        ("Infinity", "inf"),
        ("-Infinity", "-inf"),
    ];
    for (json, text) in scalars {
        assert_eq!(Json::parse(json.as_bytes()).unwrap().scalar_str(), Some(text.into()), "{json}");
    }
    for json in ["[]", "{}", "[1]"] {
        assert_eq!(Json::parse(json.as_bytes()).unwrap().scalar_str(), None, "{json}");
    }
}

/// Bytes that look like requests often enough to get past the first checks.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("{".to_string()),
        Just("}".into()),
        Just("[".into()),
        Just("]".into()),
        Just(",".into()),
        Just(":".into()),
        Just("\"".into()),
        Just("\\u".into()),
        Just("\\ud83d".into()),
        Just("\"cmd\":".into()),
        Just("\"key\":".into()),
        Just("\"val\":".into()),
        Just("\"dht\":1,".into()),
        Just("\"set\",".into()),
        Just("\"lock_get\",".into()),
        Just("\"heartbeat\",".into()),
        Just("\"port\":".into()),
        Just("-1.5e7".into()),
        Just("NaN".into()),
        Just("null".into()),
        Just(" ".into()),
        "\\PC{0,3}",
        "[0-9]{1,5}",
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_stream_is_read_the_same_however_it_is_cut(
        sent in vec(vec(any::<u8>(), 1..40), 0..6),
        cuts in vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut stream = Vec::new();
        sent.iter().for_each(|message| append(&mut stream, message));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
        prop_assert_eq!(messages(&pieces, 40), Ok(sent));
    }

    #[test]
    fn no_bytes_make_anything_panic(
        bytes in prop_oneof![vec(any::<u8>(), 0..200), likely_bytes()],
    ) {
        let _ = decode(&bytes, 100);
        let _ = Json::parse(&bytes).map(|json| (json.to_text(), json.scalar_str()));
        if let Ok(object) = Object::parse(&bytes) {
            for name in ["cmd", "key", "val", "text", "port", "dht"] {
                let _ = (object.text(name), object.number(name), object.array(name));
            }
        }
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn any_text_survives_json(units in vec(any::<u16>(), 0..30)) {
        let json: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
        let text = Json::parse(format!("\"{json}\"").as_bytes()).unwrap().to_text().unwrap();
        prop_assert_eq!(Json::string(&text).to_text(), Some(text.clone()));
        if let Ok(string) = String::from_utf16(&units) {
            prop_assert_eq!(&text, &Text::from(string.as_str()));
            prop_assert_eq!(text.to_json(), serde_like_python(&string));
        }
    }
}

/// `json.dumps(string)`, from the rule: everything beyond printable ASCII is escaped.
fn serde_like_python(string: &str) -> String {
    let mut out = String::from("\"");
    for unit in string.encode_utf16() {
        match char::from_u32(u32::from(unit)) {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\t') => out.push_str("\\t"),
            Some('\n') => out.push_str("\\n"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\r') => out.push_str("\\r"),
            Some(char @ ' '..='~') => out.push(char),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out + "\""
}
